"""Success rules: when along an executed plan the task's success test has to hold for the plan to count."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from orchestrator.core.modes import ExecutionMode
from world_models.errors import UnknownNameError, require

FINAL, FIRST_HIT, REPLANS, HOLD = "final", "first_hit", "replans", "hold"
"""At the end; at any step; at the end of any plan's executed part; with the suffix `:K`, at K steps in a row."""
RULES = (FINAL, FIRST_HIT, REPLANS, f"{HOLD}:K")


@dataclass(frozen=True)
class SuccessRule:
    """A rule as its text says it. The start itself never counts: evaluations of others test after each step."""

    kind: str = FINAL
    steps: int = 1
    """Steps in a row, of `hold`."""

    @staticmethod
    def of(text: str) -> SuccessRule:
        """The rule of a text. Raises UserError for anything but `final`, `first_hit`, `replans` and `hold:K` with K >= 1."""
        kind, _, steps = str(text).partition(":")
        if kind not in (FINAL, FIRST_HIT, REPLANS, HOLD) or (kind != HOLD and text != kind):
            raise UnknownNameError("success rule", text, RULES)
        if kind != HOLD:
            return SuccessRule(kind)
        require(
            re.fullmatch("[1-9][0-9]{0,5}", steps) is not None,
            f"success rule {text!r} does not say for how many steps the goal must be held: give e.g. {HOLD}:3.",
        )
        return SuccessRule(kind, int(steps))

    def succeeded(self, reached: Bool[np.ndarray, "batch time_plus_one"], mode: ExecutionMode) -> Bool[np.ndarray, " batch"]:
        """Whether each row succeeds, by the success test before the first and after each environment step."""
        if self.kind == FINAL:
            return reached[:, -1]
        if self.kind == REPLANS:
            return np.asarray(reached[:, mode.ends(reached.shape[1] - 1)].any(1))
        return _longest_run(reached[:, 1:]) >= (1 if self.kind == FIRST_HIT else self.steps)


def check_rule(text: str, horizon: int) -> None:
    """Raise UserError unless a plan of a horizon can fulfil a rule."""
    rule = SuccessRule.of(text)
    require(
        rule.steps <= horizon,
        f"success rule {text!r} asks for {rule.steps} steps in a row, and the horizon is {horizon}: choose {horizon} or less.",
    )


def _longest_run(reached: Bool[np.ndarray, "batch time"]) -> np.ndarray:
    run = longest = np.zeros(len(reached), np.int64)
    for step in reached.T:
        run = np.where(step, run + 1, 0)
        longest = np.maximum(longest, run)
    return longest
