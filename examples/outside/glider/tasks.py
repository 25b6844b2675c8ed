"""Glide: a puck on ice. State = observation = (x, y, velocity x, velocity y) in m and m/step; an action pushes it."""

from dataclasses import dataclass

import numpy as np

from world_models.tasks.drawing import AGENT, Canvas
from world_models.tasks.simple import SimpleTask


@dataclass(frozen=True)
class Glide(SimpleTask):
    name, action_dim, observation_dim, distance_unit = "glide", 2, 4, "m"
    tolerance = (0.2, 0.2, np.inf, np.inf)
    proprioception_dim = 4  # with these two methods and `pixels` the task can be learned from pictures too

    def start(self, rng):
        return np.concatenate([rng.uniform(-2, 2, 2), np.zeros(2)])

    def step(self, states, actions):
        velocity = 0.95 * states[:, 2:] + 0.02 * actions
        return np.concatenate([states[:, :2] + velocity, velocity], 1)

    def distance(self, poses, goals):
        return np.linalg.norm(poses - goals, axis=-1)

    def proprioception(self, states):
        return states

    def pixels(self, states, size):
        return Canvas(size, (-5.0, 5.0, 5.0, -5.0)).dots(states[:, :2], 0.2, AGENT)

    def render(self, state, size=64):
        return self.pixels(state[None], size)[0]
