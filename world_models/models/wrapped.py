"""A world model that stands before another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from world_models.base import WorldModel, takes_shorter_windows


@dataclass(frozen=True)
class Wrapped:
    """A world model that passes everything on to another; subclasses change what they pass."""

    world: WorldModel

    @property
    def state_shape(self) -> tuple[int, ...]:
        """That of the other model."""
        return self.world.state_shape

    @property
    def action_dim(self) -> int:
        """That of the other model."""
        return self.world.action_dim

    @property
    def history(self) -> int:
        """That of the other model."""
        return self.world.history

    @property
    def takes_shorter_windows(self) -> bool:
        """Whether the other model does."""
        return takes_shorter_windows(self.world)

    @property
    def device(self) -> torch.device:
        """That of the other model."""
        return self.world.device

    @property
    def dtype(self) -> torch.dtype:
        """That of the other model."""
        return self.world.dtype

    def encode(self, observation: Any) -> Float[Tensor, "batch *state"]:
        """The other model's states."""
        return self.world.encode(observation)

    def step(self, states: Float[Tensor, "n h *state"], actions: Float[Tensor, "n h action"]) -> Float[Tensor, "n *state"]:
        """The other model's next states."""
        return self.world.step(states, actions)
