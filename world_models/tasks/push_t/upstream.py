"""Push-T as DINO-WM (gaoyuezhou/dino_wm 0a9492f) and stable-worldmodel (galilai-group/stable-worldmodel addbab4) have it.

What differs from `push_t`: success is judged by the origin of the block's body, in the middle of the bar's outer edge, not by
its centre of gravity, which gives other verdicts; a reset takes a simulator step (`resets`, whose states these are); the target
of an action may be outside the arena; and pictures are upstream's, with their target T.

Observation: agent x, y, vx, vy; origin of the block's body x, y; cos and sin of its angle; the agent in the block's frame x, y.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from world_models.errors import UnknownNameError
from world_models.tasks.base import Problem, check_horizon, last_word
from world_models.tasks.push_t.resets import (
    SETTLINGS,
    SIZE,
    UpstreamScene,
    asked,
    dino_wm_states,
    settled,
    swm_states,
    upstream_rows,
)
from world_models.tasks.push_t.shapes import states_of_rows, wrap_angle
from world_models.tasks.push_t.task import PushT, start_at_rest
from world_models.tasks.push_t.upstream_pictures import pictures

SCRIPTED, RANDOM = "scripted", "random"
FULL, STRICT = "full", "strict"
STRICT_PX, STRICT_ANGLE = 10.0, np.radians(10.0)
"""Tolerances of the strict test."""


@dataclass(frozen=True)
class PushTUpstream(PushT):
    """DINO-WM's and stable-worldmodel's Push-T: relative actions in `[-1, 1]^2 x 100 px`, 0.1 s a step."""

    settling: str = "dino_wm"
    """Whose resets: `dino_wm` puts the bodies into the start; `swm` visits the goal first."""
    problems: str = SCRIPTED
    """`scripted`: goals that a scripted pusher reaches; `random`: start and goal of upstream's random calls, at any horizon."""
    test: str = FULL
    """`full`: agent and block within 20 px together, angle within 20 degrees, as upstream; `strict`: the block alone within
    10 px and 10 degrees, as CLEAR-LeWM v0.5 has it."""

    name = "push_t_upstream"
    version = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.settling not in SETTLINGS:
            raise UnknownNameError("settling of push_t_upstream", self.settling, SETTLINGS)
        if self.problems not in (SCRIPTED, RANDOM):
            raise UnknownNameError("kind of problems of push_t_upstream", self.problems, (SCRIPTED, RANDOM))
        if self.test not in (FULL, STRICT):
            raise UnknownNameError("success test of push_t_upstream", self.test, (FULL, STRICT))

    @property
    def goal_tolerance(self) -> Float[np.ndarray, " observation"]:
        """The success test's tolerances; where the agent is does not matter to the strict one."""
        if self.test == FULL:
            return super().goal_tolerance
        angle = np.sin(STRICT_ANGLE)
        return np.array([np.inf, np.inf, np.inf, np.inf, STRICT_PX, STRICT_PX, angle, angle, np.inf, np.inf])

    def distance(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> Float[np.ndarray, "*batch"]:
        """Distance |(agent, block) - goal|, px; of the block alone under the strict test."""
        if self.test == FULL:
            return super().distance(poses, goals)
        return np.linalg.norm(poses[..., 2:4] - goals[..., 2:4], axis=-1)

    def reached(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> Bool[np.ndarray, "*batch"]:
        """Whether the pose passes the test."""
        if self.test == FULL:
            return super().reached(poses, goals)
        turned = np.abs(wrap_angle(poses[..., 4] - goals[..., 4]))
        return (self.distance(poses, goals) < STRICT_PX) & (turned < STRICT_ANGLE)

    def problem(self, seed: int, horizon: int) -> Problem:
        """The problem of a seed, scripted as `push_t`'s are, or with upstream's own random start and goal."""
        if self.problems == SCRIPTED:
            return super().problem(seed, horizon)
        check_horizon(horizon, self.action_block)
        start, goal = self._random_states(seed)
        before = goal[None] if self.settling == "swm" else None
        begin = settled(asked(start[None], before))[0]
        unknown = np.zeros((0, self.action_dim))  # nobody has shown a way to the goal
        return Problem(seed, horizon, RANDOM, begin, asked(goal), unknown)

    def reset_state(self, seed: int) -> Float[np.ndarray, " 25"]:
        """The state after upstream's reset with a seed, which draws the start and, for `swm`, the goal that it visits first."""
        start, goal = self._random_states(seed)
        return settled(asked(start[None], goal[None] if self.settling == "swm" else None))[0]

    @property
    def takes_any_action(self) -> bool:
        """True: upstream's environments do not clip actions."""
        return True

    @property
    def restored_from(self) -> str:
        """Columns that determine a state, in words."""
        return f"{super().restored_from}, with velocities in a column `velocities` or not at all"

    def recorded_states(
        self, columns: Mapping[str, Shaped[np.ndarray, "n *shape"]], observations: Float[np.ndarray, "n 10"] | None
    ) -> Float[np.ndarray, "n 25"] | None:
        """States of recorded rows, as they were asked of a reset, which settles when the first action is taken."""
        for name, values in columns.items():
            if last_word(name) == "simulator_state" and values.shape[1:] == (SIZE,):
                return values.astype(np.float64)
        rows = states_of_rows(columns, observations, by_origin=True)
        return None if rows is None else asked(upstream_rows(rows))

    def first_observed(self, states: Float[np.ndarray, "n 25"]) -> Float[np.ndarray, "n 25"]:
        """DINO-WM first observes the settled state; stable-worldmodel's evaluation shows the recorded row itself."""
        return settled(states) if self.settling == "dino_wm" else states

    def pixels(self, states: Float[np.ndarray, "n simulator_state"], size: int) -> UInt8[np.ndarray, "n size size 3"]:
        """Upstream's pictures: target T, block, agent, border, contacts."""
        return pictures(states, size)

    def _random_states(self, seed: int) -> tuple[Float[np.ndarray, " 7"], Float[np.ndarray, " 7"]]:
        """Start and goal of upstream's random calls."""
        return dino_wm_states(seed) if self.settling == "dino_wm" else swm_states(seed)

    def _scene(self, state: Float[np.ndarray, " simulator_state"]) -> UpstreamScene:
        return UpstreamScene(state)

    def _begin(self, rng: np.random.Generator, near: bool) -> Float[np.ndarray, " simulator_state"]:
        start = upstream_rows(start_at_rest(rng, near))[None]
        before = upstream_rows(start_at_rest(rng))[None] if self.settling == "swm" else None
        return settled(asked(start, before))[0]

    def _block_place(self, states: Float[np.ndarray, "*batch simulator_state"]) -> Float[np.ndarray, "*batch 2"]:
        return states[..., 4:6]
