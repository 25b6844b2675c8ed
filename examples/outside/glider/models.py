"""A world model that was made elsewhere: any object with these members, and no file of ours."""

from __future__ import annotations

import torch
from torch import Tensor

from world_models.base import Decode, SquaredDistance
from world_models.parts import Parts


class Ice(torch.nn.Module):
    """The motion of the puck, with the push and the friction as parameters, as if they had been learned."""

    state_shape, action_dim, history = (4,), 2, 1

    def __init__(self) -> None:
        super().__init__()
        self.friction, self.push = torch.nn.Parameter(torch.tensor(0.95)), torch.nn.Parameter(torch.tensor(0.02))

    @property
    def device(self) -> torch.device:
        return self.push.device

    @property
    def dtype(self) -> torch.dtype:
        return self.push.dtype

    def encode(self, observation: Tensor) -> Tensor:
        return observation

    def step(self, states: Tensor, actions: Tensor) -> Tensor:  # [n, history, 4], [n, history, 2] -> [n, 4]
        velocity = self.friction * states[:, -1, 2:] + self.push * actions[:, -1]
        return torch.cat([states[:, -1, :2] + velocity, velocity], 1)


def ice() -> Parts:
    """The model with its goal costs by name, and a decoder: here states are observations."""
    decode: Decode = torch.nn.Identity()
    return Parts(Ice(), {"state": SquaredDistance()}, "state", decode)
