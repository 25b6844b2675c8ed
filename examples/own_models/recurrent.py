"""A recurrent model: it sees how fast the puck moves at the start, then only where it is, and remembers the rest."""

import torch

from world_models.base import SquaredDistance
from world_models.models.recurrent import HiddenState
from world_models.parts import Parts


class Places(torch.nn.Module):
    def forward(self, observation):  # [n, 4] -> [n, 2]
        return observation[:, :2]


class Velocities(torch.nn.Module):
    def forward(self, observation):  # [n, 4] -> [n, 2]: of a problem's start
        return observation[:, 2:]


class Cell(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.friction, self.push = torch.nn.Parameter(torch.tensor(0.95)), torch.nn.Parameter(torch.tensor(0.02))

    def forward(self, features, action, hidden):  # [n, 2], [n, 2], [n, 2]
        velocity = self.friction * hidden + self.push * action
        return features + velocity, velocity


def load():
    model = HiddenState(Cell(), features=2, action_dim=2, hidden=2, encoder=Places(), start=Velocities())
    decode = torch.nn.Identity()  # features and velocity are the observation
    return Parts(model, {"state": model.adapt_goal_cost(SquaredDistance())}, "state", decode)
