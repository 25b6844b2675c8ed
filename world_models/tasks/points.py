"""Tasks of a point in the plane: its position is its state, its observation and its proprioception."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Float, UInt8


class PointTask(ABC):
    """Base of tasks of a point; lengths are in px of the task's own arena."""

    @abstractmethod
    def pixels(self, states: Float[np.ndarray, "n 2"], size: int) -> UInt8[np.ndarray, "n size size 3"]:
        """Images of positions."""

    def observe(self, states: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """The position itself."""
        return states

    def pose(self, observations: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """The position itself."""
        return observations

    def distance(
        self, poses: Float[np.ndarray, "*batch 2"], goals: Float[np.ndarray, "*batch 2"]
    ) -> Float[np.ndarray, "*batch"]:
        """Straight-line distance, px."""
        return np.linalg.norm(poses - goals, axis=-1)

    def pose_errors(
        self, poses: Float[np.ndarray, "*batch 2"], goals: Float[np.ndarray, "*batch 2"]
    ) -> dict[str, Float[np.ndarray, "*batch"]]:
        """Position error, px."""
        return {"position_px": self.distance(poses, goals)}

    @property
    def proprioception_dim(self) -> int:
        """2: the position."""
        return 2

    def proprioception(self, states: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """The position, px."""
        return states

    def observed_proprioception(self, observations: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """The position, px, which is what is observed."""
        return observations

    def render(self, state: Float[np.ndarray, " 2"], size: int = 64) -> UInt8[np.ndarray, "size size 3"]:
        """The image of one state."""
        return self.pixels(state[None], size)[0]
