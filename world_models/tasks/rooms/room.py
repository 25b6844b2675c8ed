"""The common part of both environments with two rooms: a point that is its own state, and problems through the door.

Simulator state = observation = pose = proprioception = (x, y), px of the project's own picture; x points right and y down.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Shaped

from world_models.errors import UnknownNameError, UserError
from world_models.seeding import stable_rng
from world_models.tasks.base import Problem, check_block, check_horizon, last_word
from world_models.tasks.points import PointTask
from world_models.tasks.rooms.walks import Plan, crossing, wander

WALKED, RANDOM = "walked", "random"
DRAWS = 20
"""Walks that are drawn before a horizon is refused."""
AWAY = 1.5
"""Least distance of a goal from the start, in radii of success."""
COLUMNS = ("simulator_state", "state", "states", "pos_agent", "proprio")
"""Recorded columns that are positions if they have two numbers, the surest first."""


@dataclass(frozen=True)
class Room(PointTask):
    """A point in two rooms with a door. Subclasses give the class variables below and the abstract methods."""

    action_block: int = 1
    """Environment steps per model step (frameskip)."""
    problems: str = WALKED
    """`walked`: goals that a walk through the door reaches; `random`: start and goal of upstream's random calls, at any
    horizon."""

    name: ClassVar[str]
    version = 1
    action_dim = 2
    observation_dim = 2
    distance_unit = "px"
    success: ClassVar[float]
    """Distance to the goal below which a plan succeeds, px."""
    side: ClassVar[int]
    """Side of upstream's own picture, px."""

    def __post_init__(self) -> None:
        check_block(self.action_block)
        if self.problems not in (WALKED, RANDOM):
            raise UnknownNameError(f"kind of problems of {self.name}", self.problems, (WALKED, RANDOM))

    @property
    @abstractmethod
    def plan(self) -> Plan:
        """The floor plan by which walks find the door."""

    @abstractmethod
    def advance(self, points: Float[np.ndarray, "n 2"], actions: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Positions after one action each, as upstream moves."""

    @abstractmethod
    def random_states(self, seed: int) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
        """Start and goal that upstream draws for a seed."""

    @property
    def goal_tolerance(self) -> Float[np.ndarray, " 2"]:
        """The success radius in both directions."""
        return np.full(2, self.success)

    @property
    def dynamics(self) -> Mapping[str, object]:
        """The settings that change the dynamics."""
        return {"name": self.name, "action_block": self.action_block}

    def problem(self, seed: int, horizon: int) -> Problem:
        """The problem of a seed: a walk towards the other room, or upstream's own random start and goal."""
        check_horizon(horizon, self.action_block)
        if self.problems == RANDOM:
            start, goal = self.random_states(seed)
            return Problem(seed, horizon, RANDOM, start, goal, np.zeros((0, 2)))  # nobody has shown a way to the goal
        settings = [repr(value) for key, value in sorted(self.dynamics.items()) if key != "action_block"]
        rng = stable_rng(*settings, horizon, seed)
        for _ in range(DRAWS):
            states, actions = crossing(self.plan, rng, horizon, self.advance)
            if self.distance(states[:1], states[-1:])[0] > AWAY * self.success:
                return Problem(seed, horizon, WALKED, states[0], states[-1], actions)
        raise UserError(
            f"{self.name}: {horizon} steps are too few to walk {AWAY * self.success:g} px: choose a longer horizon, such as 25."
        )

    def reset_state(self, seed: int) -> Float[np.ndarray, " 2"]:
        """The start that upstream draws for a seed."""
        return self.random_states(seed)[0]

    def simulate(
        self, states: Float[np.ndarray, "batch 2"], actions: Float[np.ndarray, "batch time 2"]
    ) -> Float[np.ndarray, "batch time_plus_one 2"]:
        """Positions before and after each action."""
        result = np.empty((len(states), actions.shape[1] + 1, 2))
        result[:, 0] = states
        for t in range(actions.shape[1]):
            result[:, t + 1] = self.advance(result[:, t], actions[:, t])
        return result

    @abstractmethod
    def reached(self, poses: Float[np.ndarray, "*batch 2"], goals: Float[np.ndarray, "*batch 2"]) -> Bool[np.ndarray, "*batch"]:
        """Upstream's success test."""

    @property
    def restored_from(self) -> str:
        """Columns that determine a state, in words."""
        return f"a column {', '.join(f'`{name}`' for name in COLUMNS)} of x, y, or the task's observations"

    def recorded_states(
        self, columns: Mapping[str, Shaped[np.ndarray, "n *shape"]], observations: Float[np.ndarray, "n 2"] | None
    ) -> Float[np.ndarray, "n 2"] | None:
        """Positions of recorded rows."""
        known = {last_word(name): values for name, values in columns.items() if values.shape[1:] == (2,)}
        found = next((known[name] for name in COLUMNS if name in known), observations)
        return None if found is None else found.astype(np.float64)

    def on_picture(self, poses: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch points 2"]:
        """The point's position on `render`'s image; upstream's pixels have whole positions at their centres."""
        return ((poses + 0.5) / self.side)[..., None, :]

    def sample(
        self, rng: np.random.Generator, count: int, length: int
    ) -> tuple[Float[np.ndarray, "count time_plus_one 2"], Float[np.ndarray, "count length 2"]]:
        """Walks through the door, smooth noise and pushes against walls, from starts in both rooms and in the door."""
        return wander(self.plan, rng, count, length, self.advance)
