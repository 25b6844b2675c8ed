"""A model that sees three states and actions: the puck's velocity, smoothed over the three moments."""

import torch


class Smoothed(torch.nn.Module):
    state_shape, action_dim, history = (4,), 2, 3

    def __init__(self):
        super().__init__()
        self.friction, self.push = torch.nn.Parameter(torch.tensor(0.95)), torch.nn.Parameter(torch.tensor(0.02))

    @property
    def device(self):
        return self.push.device

    @property
    def dtype(self):
        return self.push.dtype

    def encode(self, observation):
        return observation

    def step(self, states, actions):  # [n, 3, 4], [n, 3, 2] -> [n, 4]; the last of the three is now
        velocity = states[:, 0, 2:]
        for t in (0, 1):  # what the older moments say about now, averaged with what is seen
            velocity = 0.5 * (self.friction * velocity + self.push * actions[:, t]) + 0.5 * states[:, t + 1, 2:]
        velocity = self.friction * velocity + self.push * actions[:, 2]
        return torch.cat([states[:, 2, :2] + velocity, velocity], 1)
