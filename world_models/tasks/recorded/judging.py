"""Plans judged by what a world model predicts, where there is no simulator to execute them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from world_models.tasks.base import Problem, Rollout, Task, pose_of


@runtime_checkable
class NoSimulator(Protocol):
    """A task that executes nothing."""

    @property
    def no_simulator(self) -> str:
        """Why there is none, in words."""
        ...

    def imagined(self, observations: Float[np.ndarray, "*batch observation"]) -> Float[np.ndarray, "*batch simulator_state"]:
        """States that look as predicted."""
        ...


def imagined_rollout(
    task: Task, problems: Sequence[Problem], predicted: Float[np.ndarray, "batch model_time observation"]
) -> Rollout:
    """The rollout of plans as predicted observations tell it, after each model step; in between, the last one holds.

    The task is one that executes nothing.
    """
    assert isinstance(task, NoSimulator)
    starts = np.stack([problem.start for problem in problems])[:, None]
    held = np.repeat(task.imagined(predicted), task.action_block, axis=1)
    # What a model step leads to is known at its end: until then the state before it holds.
    states = np.concatenate([np.repeat(starts, task.action_block, 1), held], axis=1)[:, : held.shape[1] + 1]
    poses = pose_of(task, states)
    goals = np.broadcast_to(pose_of(task, np.stack([problem.goal for problem in problems]))[:, None], poses.shape)
    return Rollout(states, task.distance(poses, goals), task.reached(poses, goals))
