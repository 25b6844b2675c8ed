"""A task from its motion and its starts: the rest of the contract, for a task of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, UInt8

from world_models.errors import UserError
from world_models.seeding import smooth_noise, stable_rng
from world_models.tasks.base import Problem, check_block, check_horizon
from world_models.tasks.gym.pictures import bars

DRAWS = 100
"""Most draws of a problem before it is given up."""


@dataclass(frozen=True)
class SimpleTask:
    """A task whose subclass gives the class variables below, `start` and `step`; every other method may be replaced too.

    A problem's goal is where behaviour of half strength leads from a start, so that every problem can be solved. Subclasses
    are frozen dataclasses, whose fields are the task's settings.
    """

    action_block: int = 1
    """Environment steps per model step (frameskip)."""

    name: ClassVar[str]
    """Registry name."""
    action_dim: ClassVar[int]
    """Size of one environment action."""
    observation_dim: ClassVar[int]
    """Size of the state observation."""
    tolerance: ClassVar[tuple[float, ...]]
    """Largest error of each observation feature at the goal; infinite for features that do not matter."""
    distance_unit: ClassVar[str] = "tolerances"
    """Unit of `distance`."""
    version: ClassVar[int] = 1
    """Raise it when problems or motion change."""
    away: ClassVar[float] = 2.0
    """Least distance of a goal from the start and from where null actions end, in tolerances."""

    def __post_init__(self) -> None:
        check_block(self.action_block)

    def start(self, rng: np.random.Generator) -> Float[np.ndarray, " simulator_state"]:
        """A simulator state from which a problem or a trajectory starts."""
        raise NotImplementedError

    def step(
        self, states: Float[np.ndarray, "batch simulator_state"], actions: Float[np.ndarray, "batch action"]
    ) -> Float[np.ndarray, "batch simulator_state"]:
        """Simulator states after one environment step; actions are in [-1, 1]."""
        raise NotImplementedError

    def behaviour(self, rng: np.random.Generator, count: int, length: int) -> Float[np.ndarray, "count length action"]:
        """Actions in [-1, 1] that explore, from which problems are drawn and world models learn; smooth noise here."""
        return np.clip(smooth_noise(rng, count, length, self.action_dim), -1.0, 1.0)

    @property
    def dynamics(self) -> Mapping[str, object]:
        """Name and settings."""
        return {"name": self.name, **asdict(self)}

    @property
    def goal_tolerance(self) -> Float[np.ndarray, " observation"]:
        """Largest error of each observation feature at the goal."""
        return np.array(self.tolerance, dtype=np.float64)

    def problem(self, seed: int, horizon: int) -> Problem:
        """The problem of a seed. Raises UserError if behaviour leads nowhere within `DRAWS` attempts."""
        check_horizon(horizon, self.action_block)
        rng = stable_rng(self.name, *map(repr, asdict(self).values()), horizon, seed)
        for _ in range(DRAWS):
            start, actions = self.start(rng), 0.5 * self.behaviour(rng, 1, horizon)
            goal, rest = (self.simulate(start[None], each)[0, -1] for each in (actions, np.zeros_like(actions)))
            if all(self._is_away(each, goal) for each in (start, rest)):
                return Problem(seed, horizon, "free", start, goal, actions[0])
        raise UserError(
            f"task {self.name} finds no goal {self.away:g} tolerances away within {horizon} steps: use a longer horizon."
        )

    def simulate(
        self, states: Float[np.ndarray, "batch simulator_state"], actions: Float[np.ndarray, "batch time action"]
    ) -> Float[np.ndarray, "batch time_plus_one simulator_state"]:
        """Simulator states before and after each action."""
        found = [states]
        for t in range(actions.shape[1]):
            found.append(self.step(found[-1], actions[:, t]))
        return np.stack(found, axis=1)

    def observe(self, states: Float[np.ndarray, "*batch simulator_state"]) -> Float[np.ndarray, "*batch observation"]:
        """State observations: the states themselves."""
        return states

    def pose(self, observations: Float[np.ndarray, "*batch observation"]) -> Float[np.ndarray, "*batch pose"]:
        """The observed features that have a tolerance."""
        return observations[..., np.isfinite(self.goal_tolerance)]

    def distance(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> Float[np.ndarray, "*batch"]:
        """Largest error of a feature, in tolerances."""
        return self._errors(poses, goals).max(axis=-1)

    def reached(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> Bool[np.ndarray, "*batch"]:
        """Whether every feature is within its tolerance."""
        return np.asarray(self._errors(poses, goals).max(axis=-1) <= 1.0)

    def pose_errors(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> dict[str, Float[np.ndarray, "*batch"]]:
        """The distance."""
        return {f"distance_{self.distance_unit}": self.distance(poses, goals)}

    def render(self, state: Float[np.ndarray, " simulator_state"], size: int = 64) -> UInt8[np.ndarray, "size size 3"]:
        """The observed features as bars."""
        return bars(self.observe(state), size)

    def sample(
        self, rng: np.random.Generator, count: int, length: int
    ) -> tuple[Float[np.ndarray, "count time_plus_one simulator_state"], Float[np.ndarray, "count length action"]]:
        """Behaviour from starts, for world-model training."""
        starts, actions = np.stack([self.start(rng) for _ in range(count)]), self.behaviour(rng, count, length)
        return self.simulate(starts, actions), actions

    def _errors(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> Float[np.ndarray, "*batch pose"]:
        """Errors in tolerances."""
        tolerance = self.goal_tolerance
        return np.abs(poses - goals) / tolerance[np.isfinite(tolerance)]

    def _is_away(self, state: Float[np.ndarray, " simulator_state"], goal: Float[np.ndarray, " simulator_state"]) -> bool:
        first, second = (self.pose(self.observe(each)) for each in (state, goal))
        return bool(self._errors(first, second).max() >= self.away)
