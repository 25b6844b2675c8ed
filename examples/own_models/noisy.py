"""Latent noise: each member has a draw of its own, and all of them are an ensemble, whose disagreement has a price."""

import torch

from world_models.base import SquaredDistance
from world_models.models.ensemble import Ensemble
from world_models.parts import Parts


class Noisy(torch.nn.Module):
    state_shape, action_dim, history = (4,), 2, 1
    draw: torch.Tensor

    def __init__(self, draw):
        super().__init__()
        self.friction, self.push = torch.nn.Parameter(torch.tensor(0.95)), torch.nn.Parameter(torch.tensor(0.02))
        self.register_buffer("draw", draw)  # drawn once: a step has to be the same at every call

    @property
    def device(self):
        return self.push.device

    @property
    def dtype(self):
        return self.push.dtype

    def encode(self, observation):
        return observation

    def step(self, states, actions):  # the noise grows with the push
        pushed = self.push * actions[:, -1] * (1 + 0.1 * self.draw)
        velocity = self.friction * states[:, -1, 2:] + pushed
        return torch.cat([states[:, -1, :2] + velocity, velocity], 1)


def load():
    draws = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    model = Ensemble([Noisy(draw - draws.mean(0)) for draw in draws], torch.full((4,), 0.02))
    return Parts(model, {"state": model.adapt_goal_cost(SquaredDistance())}, "state", None)
