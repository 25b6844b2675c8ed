"""Execution modes: how often a problem is planned, and how far ahead."""

from __future__ import annotations

import re
from dataclasses import dataclass

from world_models.errors import UnknownNameError, require
from world_models.tasks.base import LONGEST_HORIZON

OPEN_LOOP = "open_loop"
"""The mode in which a problem is planned once and its plan executed to the end."""
MPC = "mpc"
"""With the suffix `:K`, the mode in which a problem is replanned after every K environment steps, for what is left of the
horizon; with `:K:H`, always for H steps, also where fewer are left."""


@dataclass(frozen=True)
class ExecutionMode:
    """A mode as its text says it."""

    every: int | None = None
    """Environment steps between two plans; None: one plan."""
    ahead: int | None = None
    """Environment steps that each plan is long; None: to the end of the horizon."""

    @staticmethod
    def of(text: str) -> ExecutionMode:
        """The mode of a text. Raises UserError for anything but `open_loop`, `mpc:K` and `mpc:K:H` with H >= K >= 1."""
        if text == OPEN_LOOP:
            return ONE_PLAN
        name, *numbers = str(text).split(":")
        if name != MPC:
            raise UnknownNameError("execution mode", text, (OPEN_LOOP, f"{MPC}:K"))
        # One spelling per mode, because it belongs to a cell's identity.
        sound = len(numbers) in (1, 2) and all(re.fullmatch("[1-9][0-9]{0,5}", number) for number in numbers)
        require(
            sound,
            f"execution mode {text!r} does not say after how many environment steps to replan: give {MPC}:K with K from 1 "
            f"to 999999, or {MPC}:K:H to plan H steps each time.",
        )
        mode = ExecutionMode(*(int(number) for number in numbers))
        if mode.ahead is not None and mode.every is not None:
            require(
                mode.every <= mode.ahead <= LONGEST_HORIZON,
                f"execution mode {text!r} plans {mode.ahead} steps and executes {mode.every} of them: plan as many or more, up "
                f"to {LONGEST_HORIZON}.",
            )
        return mode

    def stride(self, horizon: int) -> int:
        """Environment steps that are executed of each plan but the last."""
        return self.every or horizon

    def planned(self, done: int, horizon: int) -> int:
        """Environment steps of the plan that is made after `done` steps."""
        return self.ahead or horizon - done

    def ends(self, horizon: int) -> list[int]:
        """The environment steps after which a plan has been executed as far as it is; the last is the horizon."""
        return [*range(self.stride(horizon), horizon, self.stride(horizon)), horizon]


ONE_PLAN = ExecutionMode()
"""Open loop."""


def check_mode(text: str, horizon: int, action_block: int) -> None:
    """Raise UserError unless a mode replans between model steps, at or before the horizon."""
    mode = ExecutionMode.of(text)
    if mode.every is None:
        return
    for what, steps in (("replans inside", mode.every), ("plans to the middle of", mode.ahead or mode.every)):
        near = max(1, round(steps / action_block)) * action_block
        sentence = (
            f"execution mode {text!r} {what} a model step, which takes {action_block} environment steps: choose {near}"
            + ("." if steps == mode.every else f" in place of {steps}.")
        )
        require(steps % action_block == 0, sentence)
    require(mode.every <= horizon, f"execution mode {text!r} never replans within horizon {horizon}: choose {horizon} or less.")


def planned_steps(text: str, horizon: int) -> int:
    """Environment steps of all plans of a cell together, a relative measure of its planning time."""
    mode = ExecutionMode.of(text)
    return sum(mode.planned(done, horizon) for done in range(0, horizon, mode.stride(horizon)))
