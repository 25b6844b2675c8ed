"""Discrete latents: each of the observation's four numbers is one of 64 codes, and planners move through their embeddings."""

import torch

from world_models.models.discrete import DiscreteLatents

CODES = 64
REACH = torch.tensor([5.0, 5.0, 0.5, 0.5])  # m and m/step


class Nearest(torch.nn.Module):
    """Logits of the codes by their distance from numbers."""

    values: torch.Tensor
    width: torch.Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("values", REACH[:, None] * torch.linspace(-1, 1, CODES))  # [4, codes]
        self.register_buffer("width", 2 * REACH / CODES)

    def forward(self, numbers):  # [n, 4] -> [n, 4, codes]
        return -((numbers[:, :, None] - self.values) / self.width[:, None]).square()


class Dynamics(torch.nn.Module):
    def __init__(self, nearest):
        super().__init__()
        self.nearest = nearest
        self.friction, self.push = torch.nn.Parameter(torch.tensor(0.95)), torch.nn.Parameter(torch.tensor(0.02))

    def forward(self, embeddings, action):  # [n, 4, 1], [n, 2] -> [n, 4, codes]
        place, velocity = embeddings[:, :2, 0], embeddings[:, 2:, 0]
        velocity = self.friction * velocity + self.push * action
        return self.nearest(torch.cat([place + velocity, velocity], 1))


def load():
    nearest = Nearest()
    return DiscreteLatents(nearest, Dynamics(nearest), nearest.values[:, :, None], variables=4, action_dim=2)
