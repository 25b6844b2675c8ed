"""A model of pictures: the puck's place is where the picture is red, and its velocity is felt."""

import torch

from world_models.base import SquaredDistance
from world_models.parts import Parts
from world_models.sensors import Sensors

SIZE = 48
PAPER = 250  # green of the background
HALF = 5.0  # the picture shows -5 to 5 m


class Seen(torch.nn.Module):
    state_shape, action_dim, history = (4,), 2, 1

    def __init__(self):
        super().__init__()
        self.friction, self.push = torch.nn.Parameter(torch.tensor(0.95)), torch.nn.Parameter(torch.tensor(0.02))
        places = HALF * (2 * (torch.arange(SIZE) + 0.5) / SIZE - 1)
        self.register_buffer("places", places)  # of the pixels, m

    @property
    def device(self):
        return self.push.device

    @property
    def dtype(self):
        return self.push.dtype

    def encode(self, observation):  # pixels [n, size, size, 3] of uint8, proprioception [n, 4]
        dark = PAPER - observation.pixels[..., 1].to(self.dtype)  # red differs from the paper in its green
        mass = dark.sum((1, 2)).clamp_min(1e-6)
        x = (dark.sum(1) * self.places).sum(1) / mass
        y = -(dark.sum(2) * self.places).sum(1) / mass  # rows count downwards
        return torch.cat([torch.stack([x, y], 1), observation.proprioception[:, 2:]], 1)

    def step(self, states, actions):
        velocity = self.friction * states[:, -1, 2:] + self.push * actions[:, -1]
        return torch.cat([states[:, -1, :2] + velocity, velocity], 1)


def load():
    return Parts(Seen(), {"state": SquaredDistance()}, "state", torch.nn.Identity(), Sensors("pixels", SIZE, 4))
