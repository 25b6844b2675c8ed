"""The task contract: a true simulator, problems drawn from seeds, and the success test.

All arrays are numpy float64 on the CPU, batched over problems, `[batch, time, feature]`. A horizon counts environment steps.
Actions are in `[-1, 1]`, the normalised action space in which planners work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from world_models.errors import UserError, brief, require

BOX, DISCRETE = "box", "discrete"
"""Kinds of actions."""


@dataclass(frozen=True)
class RecordedPictures:
    """Recorded pictures of a problem's rows."""

    seen: UInt8[np.ndarray, "past_and_start height width 3"]
    """Pictures of the states before the start, oldest first, and of the start."""
    goal: UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Problem:
    """One planning problem, reachable by construction: `reference_actions` lead from `start` to `goal`.

    A problem from recorded rows may have fewer or more of them than its horizon, and be only as reachable as the simulator
    repeats what was recorded.
    """

    seed: int
    horizon: int
    kind: str
    start: Float[np.ndarray, " simulator_state"]
    goal: Float[np.ndarray, " simulator_state"]
    reference_actions: Float[np.ndarray, "time action"]
    past_states: Float[np.ndarray, "past simulator_state"] | None = None
    """States before the start, a model step apart, the oldest first; None: nothing is known of them, which is like rest."""
    past_actions: Float[np.ndarray, "past_steps action"] | None = None
    """The actions that led from the first of them to the start."""
    pictures: RecordedPictures | None = None
    """Those that a pixel model sees, as they were recorded; None: they are drawn by the task."""
    action_statistics: Float[np.ndarray, "2 action"] | None = None
    """Mean and standard deviation of the dataset's actions, by which published solvers standardise theirs; None: no dataset."""


@dataclass(frozen=True)
class Rollout:
    """A batch of plans executed in the true simulator; row i belongs to problem i."""

    states: Float[np.ndarray, "batch time_plus_one simulator_state"]
    distance: Float[np.ndarray, "batch time_plus_one"]
    reached: Bool[np.ndarray, "batch time_plus_one"]

    @property
    def success(self) -> Bool[np.ndarray, " batch"]:
        """Whether the final state passes the task's success test, which tables report unless a success rule says otherwise."""
        return self.reached[:, -1]

    @property
    def final_distance(self) -> Float[np.ndarray, " batch"]:
        """Distance to the goal at the end, in the task's unit."""
        return self.distance[:, -1]

    def steps_to_success(self) -> list[int | None]:
        """First environment step from which on each row stays successful to the end; None where it fails."""
        result: list[int | None] = []
        for row in self.reached:
            misses = np.flatnonzero(~row)
            first = int(misses[-1]) + 1 if len(misses) else 0
            result.append(first if first < len(row) else None)
        return result

    def first_success(self) -> list[int | None]:
        """First environment step at which each row is successful; None where it never is."""
        return [int(row.argmax()) if row.any() else None for row in self.reached]


@runtime_checkable
class Task(Protocol):
    """A simulator with its observation, bounds, success test and source of problems. Stateless between calls."""

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
        """Name, action_block and the settings that change the dynamics; a world model fits a task if these agree."""
        ...

    @property
    def action_block(self) -> int:
        """Environment steps per model step (frameskip)."""
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
        """Largest error of each observation feature at the goal, in its unit; infinite for features that do not matter."""
        ...

    @property
    def distance_unit(self) -> str:
        """Unit of `distance`, for tables ("px", "m")."""
        ...

    def problem(self, seed: int, horizon: int) -> Problem:
        """The problem of a seed; depends only on the arguments and the task's settings.

        Raises UserError if no problem of the task's kind exists at this horizon.
        """
        ...

    def simulate(
        self, states: Float[np.ndarray, "batch simulator_state"], actions: Float[np.ndarray, "batch time action"]
    ) -> Float[np.ndarray, "batch time_plus_one simulator_state"]:
        """Simulator states before and after each action, from any simulator state; replays are exact."""
        ...

    def observe(self, states: Float[np.ndarray, "*batch simulator_state"]) -> Float[np.ndarray, "*batch observation"]:
        """State observations, which a state world model encodes."""
        ...

    def pose(self, observations: Float[np.ndarray, "*batch observation"]) -> Float[np.ndarray, "*batch pose"]:
        """The coordinates in which distance and success are defined, from state observations."""
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
        """Errors of the pose's parts by name and unit, such as `block_px`, which model cards report."""
        ...

    def render(self, state: Float[np.ndarray, " simulator_state"], size: int = 64) -> UInt8[np.ndarray, "size size 3"]:
        """An image of one simulator state."""
        ...

    def sample(
        self, rng: np.random.Generator, count: int, length: int
    ) -> tuple[Float[np.ndarray, "count time_plus_one simulator_state"], Float[np.ndarray, "count length action"]]:
        """Simulated behaviour for world-model training: broad, contact-rich, drawn from `rng` alone."""
        ...


@runtime_checkable
class Visible(Protocol):
    """A task that renders images, which pixel models need."""

    @property
    def proprioception_dim(self) -> int:
        """Number of features of `proprioception`."""
        ...

    def pixels(self, states: Float[np.ndarray, "batch simulator_state"], size: int) -> UInt8[np.ndarray, "batch size size 3"]:
        """Images of simulator states, rendered in batches."""
        ...

    def proprioception(self, states: Float[np.ndarray, "*batch simulator_state"]) -> Float[np.ndarray, "*batch proprioception"]:
        """Proprioception in the task's units: the agent's position, and its velocity if it has one."""
        ...


@runtime_checkable
class ObservedProprioception(Protocol):
    """A task that can tell its proprioception from state observations, as recorded data have them."""

    def observed_proprioception(
        self, observations: Float[np.ndarray, "*batch observation"]
    ) -> Float[np.ndarray, "*batch proprioception"]:
        """The proprioception of the states that look like this."""
        ...


@runtime_checkable
class Drawable(Protocol):
    """A task that can locate its poses on its images, so that paths can be drawn over them."""

    def on_picture(self, poses: Float[np.ndarray, "*batch pose"]) -> Float[np.ndarray, "*batch points 2"]:
        """The moving points of a pose as (x, y) fractions of `render`'s width and height, y downwards."""
        ...


@runtime_checkable
class ActionKind(Protocol):
    """A task that says of which kind its actions are; those of a task without this property are a box."""

    @property
    def action_kind(self) -> str:
        """`box`: any values in [-1, 1]; `discrete`: one of `action_dim` classes, 1 for the one taken and -1 for the others.

        Plans for discrete actions are made of such actions, and of any other values the first largest counts.
        """
        ...


def classes_of(task: Task) -> int | None:
    """Number of classes of a task's actions; None if they are a box."""
    return task.action_dim if isinstance(task, ActionKind) and task.action_kind == DISCRETE else None


@runtime_checkable
class UnboundedActions(Protocol):
    """A task whose simulator takes actions of any size, without clipping them."""

    @property
    def takes_any_action(self) -> bool:
        """Whether it does."""
        ...


def executed_actions(task: Task, actions: Float[np.ndarray, "*batch action"]) -> Float[np.ndarray, "*batch action"]:
    """Actions as they are executed: clipped to `[-1, 1]`, but for a task that takes any."""
    return actions if isinstance(task, UnboundedActions) and task.takes_any_action else np.clip(actions, -1.0, 1.0)


@runtime_checkable
class RecordedActions(Protocol):
    """A task whose environment takes actions in other units than [-1, 1], as recorded data have them."""

    def normalise(self, recorded: Shaped[np.ndarray, "n *shape"]) -> Float[np.ndarray, "n action"]:
        """The task's actions for recorded ones of its environment."""
        ...


@runtime_checkable
class RestoresRows(Protocol):
    """A task that makes simulator states of recorded rows; one without it can if what it observes is its state."""

    @property
    def restored_from(self) -> str:
        """The columns that it takes, in words."""
        ...

    def recorded_states(
        self, columns: Mapping[str, Shaped[np.ndarray, "n *shape"]], observations: Float[np.ndarray, "n observation"] | None
    ) -> Float[np.ndarray, "n simulator_state"] | None:
        """States of rows with these columns, and the task's observations if they have them; None if these are not enough."""
        ...


@runtime_checkable
class ResetSeeds(Protocol):
    """A task whose episodes begin with a seeded reset of an environment."""

    def reset_state(self, seed: int) -> Float[np.ndarray, " simulator_state"]:
        """The state after a reset with a seed."""
        ...


def last_word(column: str) -> str:
    """The last part of a recorded column's path: `state` of `obs/state`."""
    return re.split(r"[/.]", column)[-1]


def normalised_actions(task: Task, recorded: Shaped[np.ndarray, "n *shape"]) -> Float[np.ndarray, "n action"]:
    """Recorded actions of a task's environment as the task takes them, `[n, action]` in [-1, 1]."""
    if isinstance(task, RecordedActions):
        return task.normalise(recorded)
    return recorded.reshape(len(recorded), -1).astype(np.float64)


def pose_of(task: Task, states: Float[np.ndarray, "*batch simulator_state"]) -> Float[np.ndarray, "*batch pose"]:
    """Poses of simulator states."""
    return task.pose(task.observe(states))


def execute(task: Task, problems: Sequence[Problem], actions: Float[np.ndarray, "batch time action"]) -> Rollout:
    """Execute one plan per problem in the true simulator: environment actions, as `executed_actions` gives them.

    Raises UserError if the number of plans or their length does not fit the problems.
    """
    require(len(problems) == len(actions), f"{len(actions)} plans for {len(problems)} problems: give one plan per problem.")
    horizons = {p.horizon for p in problems}
    if horizons != {actions.shape[1]}:
        raise UserError(f"plans of {actions.shape[1]} environment steps for horizons {sorted(horizons)}: they must agree.")
    starts = np.stack([p.start for p in problems])
    goals = pose_of(task, np.stack([p.goal for p in problems]))[:, None]
    states = task.simulate(starts, executed_actions(task, actions))
    poses = pose_of(task, states)
    goals = np.broadcast_to(goals, poses.shape)
    return Rollout(states, task.distance(poses, goals), task.reached(poses, goals))


LONGEST_HORIZON = 10_000
"""Environment steps that a problem may have: making a longer one would take minutes."""

MOST_REPEATED = 1_000
"""Largest `action_block`."""


def check_block(action_block: object) -> None:
    """Raise UserError unless `action_block` is a whole number of environment steps from 1 to `MOST_REPEATED`."""
    whole = isinstance(action_block, int) and not isinstance(action_block, bool) and 1 <= action_block <= MOST_REPEATED
    sentence = (
        f"action_block {brief(action_block)} is not a whole number of steps from 1 to {MOST_REPEATED}: use 1 for no frameskip."
    )
    require(whole, sentence)


def check_horizon(horizon: int, action_block: int) -> None:
    """Raise UserError unless `horizon` is a positive multiple of `action_block`, and at most `LONGEST_HORIZON`."""
    require(isinstance(horizon, int) and horizon > 0, f"horizon {horizon!r} is not a positive number of environment steps.")
    require(horizon <= LONGEST_HORIZON, f"horizon {brief(horizon)} is too long: give at most {LONGEST_HORIZON} steps.")
    near = max(1, round(horizon / action_block)) * action_block
    require(horizon % action_block == 0, f"horizon {horizon} is not a multiple of action_block {action_block}: choose {near}.")
