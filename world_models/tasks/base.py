"""The task contract: a true simulator, how problems are drawn from seeds, and what counts as success.

Everything here is numpy float64 on the CPU, batched over problems, `[batch, time, feature]`. A horizon counts
environment steps. Actions live in `[-1, 1]`: the normalised action space in which planners work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8

from world_models.errors import UserError, require


@dataclass(frozen=True)
class Problem:
    """One planning problem, reachable by construction: `reference_actions` lead from `start` to `goal`."""

    seed: int
    horizon: int
    kind: str
    start: Float[np.ndarray, " simulator_state"]
    goal: Float[np.ndarray, " simulator_state"]
    reference_actions: Float[np.ndarray, "time action"]


@dataclass(frozen=True)
class Rollout:
    """What the true simulator did with a batch of plans; row i belongs to problem i."""

    states: Float[np.ndarray, "batch time_plus_one simulator_state"]
    distance: Float[np.ndarray, "batch time_plus_one"]
    reached: Bool[np.ndarray, "batch time_plus_one"]

    @property
    def success(self) -> Bool[np.ndarray, " batch"]:
        """Whether the final state passes the task's success test: the success that counts."""
        return self.reached[:, -1]

    @property
    def final_distance(self) -> Float[np.ndarray, " batch"]:
        """The task's distance to the goal at the end."""
        return self.distance[:, -1]

    def steps_to_success(self) -> list[int | None]:
        """First environment step from which on each row stays successful to the end; None where it fails."""
        result: list[int | None] = []
        for row in self.reached:
            misses = np.flatnonzero(~row)
            first = int(misses[-1]) + 1 if len(misses) else 0
            result.append(first if first < len(row) else None)
        return result


@runtime_checkable
class Task(Protocol):
    """A simulator with its observation, bounds, success test, and how a problem is drawn. Stateless between calls."""

    @property
    def name(self) -> str:
        """Registry name."""
        ...

    @property
    def version(self) -> int:
        """1, and one more whenever simulator, problems or success test change for the same settings: part of a cell's id."""
        ...

    @property
    def dynamics(self) -> Mapping[str, object]:
        """Name, action_block and the settings that change the dynamics: a world model fits a task when these agree."""
        ...

    @property
    def action_block(self) -> int:
        """Environment steps a model step (frameskip)."""
        ...

    @property
    def action_dim(self) -> int:
        """Size of one environment action."""
        ...

    @property
    def observation_dim(self) -> int:
        """Size of the state observation."""
        ...

    @property
    def goal_tolerance(self) -> Float[np.ndarray, " observation"]:
        """How far each observation feature may miss the goal, in its unit; infinite where the goal does not care."""
        ...

    @property
    def distance_unit(self) -> str:
        """Unit of `distance`, for tables ("px", "m")."""
        ...

    def problem(self, seed: int, horizon: int) -> Problem:
        """The problem of a seed; depends on nothing but the arguments and the task's settings.

        Raises UserError when no problem of the task's kind exists at this horizon.
        """
        ...

    def simulate(
        self, states: Float[np.ndarray, "batch simulator_state"], actions: Float[np.ndarray, "batch time action"]
    ) -> Float[np.ndarray, "batch time_plus_one simulator_state"]:
        """Simulator states before and after each action, from any simulator state; replays are exact."""
        ...

    def observe(self, states: Float[np.ndarray, "*batch simulator_state"]) -> Float[np.ndarray, "*batch observation"]:
        """State observations: what a state world model encodes."""
        ...

    def pose(self, observations: Float[np.ndarray, "*batch observation"]) -> Float[np.ndarray, "*batch pose"]:
        """The coordinates that distance and success are defined in, read off state observations."""
        ...

    def distance(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> Float[np.ndarray, "*batch"]:
        """Distance to the goal in `distance_unit`, for tables and figures."""
        ...

    def reached(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> Bool[np.ndarray, "*batch"]:
        """The task's success test."""
        ...

    def pose_errors(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> dict[str, Float[np.ndarray, "*batch"]]:
        """Errors of the pose's parts by name and unit, such as `block_px`: what model cards report."""
        ...

    def render(self, state: Float[np.ndarray, " simulator_state"], size: int = 64) -> UInt8[np.ndarray, "size size 3"]:
        """A picture of one simulator state."""
        ...

    def sample(
        self, rng: np.random.Generator, count: int, length: int
    ) -> tuple[Float[np.ndarray, "count time_plus_one simulator_state"], Float[np.ndarray, "count length action"]]:
        """Simulated behaviour for world-model training: broad, contact-rich, drawn from `rng` alone."""
        ...


@runtime_checkable
class Visible(Protocol):
    """A task that models of pixels can look at."""

    @property
    def proprioception_dim(self) -> int:
        """Features of `proprioception`."""
        ...

    def pixels(self, states: Float[np.ndarray, "batch simulator_state"], size: int) -> UInt8[np.ndarray, "batch size size 3"]:
        """Pictures of simulator states, quickly."""
        ...

    def proprioception(self, states: Float[np.ndarray, "*batch simulator_state"]) -> Float[np.ndarray, "*batch proprioception"]:
        """What the body knows of itself, in the task's units: its position, and its velocity where it has one."""
        ...


@runtime_checkable
class PathDistance(Protocol):
    """A task that knows how long the shortest way between two poses is, for judging goal costs."""

    @property
    def distance_bands(self) -> tuple[float, ...]:
        """Lower edges of the bands of distance within which goal costs are judged, from 0 on; the last one is open."""
        ...

    def path_distance(self, poses: Float[np.ndarray, "n pose"], goals: Float[np.ndarray, "n pose"]) -> Float[np.ndarray, " n"]:
        """Length of the shortest way, in `distance_unit`."""
        ...


@runtime_checkable
class Drawable(Protocol):
    """A task that can say where its poses lie on its pictures, so that paths can be drawn over them."""

    def on_picture(self, poses: Float[np.ndarray, "*batch pose"]) -> Float[np.ndarray, "*batch points 2"]:
        """The moving points of a pose as (x, y) fractions of `render`'s width and height, y downwards."""
        ...


def pose_of(task: Task, states: Float[np.ndarray, "*batch simulator_state"]) -> Float[np.ndarray, "*batch pose"]:
    """Poses of simulator states."""
    return task.pose(task.observe(states))


def execute(task: Task, problems: Sequence[Problem], actions: Float[np.ndarray, "batch time action"]) -> Rollout:
    """Execute one plan a problem in the true simulator: environment actions, clipped to `[-1, 1]`.

    Raises UserError when the number of plans or their length does not fit the problems.
    """
    require(len(problems) == len(actions), f"{len(actions)} plans for {len(problems)} problems: give one plan a problem.")
    horizons = {p.horizon for p in problems}
    if horizons != {actions.shape[1]}:
        raise UserError(f"plans of {actions.shape[1]} environment steps for horizons {sorted(horizons)}: they must agree.")
    starts = np.stack([p.start for p in problems])
    goals = pose_of(task, np.stack([p.goal for p in problems]))[:, None]
    states = task.simulate(starts, np.clip(actions, -1.0, 1.0))
    poses = pose_of(task, states)
    goals = np.broadcast_to(goals, poses.shape)
    return Rollout(states, task.distance(poses, goals), task.reached(poses, goals))


def check_horizon(horizon: int, action_block: int) -> None:
    """Raise UserError unless `horizon` is a positive multiple of `action_block`."""
    require(isinstance(horizon, int) and horizon > 0, f"horizon {horizon!r} is not a positive number of environment steps.")
    near = max(1, round(horizon / action_block)) * action_block
    require(horizon % action_block == 0, f"horizon {horizon} is no multiple of action_block {action_block}: choose {near}.")


def wrap_angle(angle: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """Angles in radians, brought to [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
