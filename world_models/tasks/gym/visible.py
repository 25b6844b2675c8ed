"""The task of an environment, with pictures where it draws or observes them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from world_models.tasks.gym.pictures import picture_of
from world_models.tasks.gym.settings import normalised
from world_models.tasks.gym.task import GymTask


@dataclass(frozen=True)
class VisibleGymTask(GymTask):
    """A Gymnasium task whose environment draws pictures."""

    @property
    def proprioception_dim(self) -> int:
        """Number of observed features."""
        return self.observation_dim

    def pixels(self, states: Float[np.ndarray, "n state"], size: int) -> UInt8[np.ndarray, "n size size 3"]:
        """The environment's pictures of states, made square."""
        drawn = [picture_of(self.simulator, state, size, self.id) for state in states]
        return np.stack(drawn) if drawn else np.empty((0, size, size, 3), "u1")

    def proprioception(self, states: Float[np.ndarray, "*batch state"]) -> Float[np.ndarray, "*batch observation"]:
        """The observed features."""
        return self.observe(states)

    def observed_proprioception(
        self, observations: Float[np.ndarray, "*batch observation"]
    ) -> Float[np.ndarray, "*batch observation"]:
        """The observed features."""
        return observations


def gym_task(**settings: Any) -> GymTask:
    """The task of an environment, with pictures where it draws them in this process.

    Raises UserError, at once, for bad values and environments that cannot be driven, TypeError for unknown settings.
    """
    known = {field.name: field.default for field in dataclasses.fields(GymTask)}
    unknown = sorted(settings.keys() - known.keys())
    if unknown:
        raise TypeError(f"it has no {', '.join(unknown)}; it has {', '.join(known)}")
    settings = normalised({**known, **settings})
    task = GymTask(**settings)
    task.goal_tolerance  # noqa: B018 the environment is made, and features and tolerance are checked
    return VisibleGymTask(**settings) if task.can_render else task
