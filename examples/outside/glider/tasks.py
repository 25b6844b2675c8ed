"""Glide: a puck on ice. State = observation = (x, y, velocity x, velocity y) in m and m/step; an action pushes it."""

from dataclasses import dataclass

import numpy as np

from world_models.seeding import smooth_noise, stable_rng
from world_models.tasks.base import Problem, check_block, check_horizon
from world_models.tasks.drawing import AGENT, Canvas


@dataclass(frozen=True)
class Glide:
    action_block: int = 1  # environment steps per model step
    name, version, action_dim, observation_dim, distance_unit = "glide", 1, 2, 4, "m"

    def __post_init__(self):
        check_block(self.action_block)

    @property
    def goal_tolerance(self):
        return np.array([0.2, 0.2, np.inf, np.inf])

    @property
    def dynamics(self):
        return {"name": self.name, "action_block": self.action_block}

    def problem(self, seed, horizon):  # reachable: the goal is where random pushes end
        check_horizon(horizon, self.action_block)
        rng = stable_rng(self.name, horizon, seed)
        actions = np.clip(0.5 * smooth_noise(rng, 1, horizon, 2), -1, 1)
        start = np.concatenate([rng.uniform(-1, 1, 2), np.zeros(2)])
        return Problem(seed, horizon, "free", start, self.simulate(start[None], actions)[0, -1], actions[0])

    def simulate(self, states, actions):
        result = [states]
        for t in range(actions.shape[1]):
            velocity = 0.95 * result[-1][:, 2:] + 0.02 * actions[:, t]
            result.append(np.concatenate([result[-1][:, :2] + velocity, velocity], 1))
        return np.stack(result, 1)

    def observe(self, states):
        return states

    def pose(self, observations):
        return observations[..., :2]

    def distance(self, poses, goals):
        return np.linalg.norm(poses - goals, axis=-1)

    def reached(self, poses, goals):
        return self.distance(poses, goals) < 0.2

    def pose_errors(self, poses, goals):
        return {"position_m": self.distance(poses, goals)}

    proprioception_dim = 4  # with these two and `pixels` the task can be learned from pictures too

    def proprioception(self, states):
        return states

    def pixels(self, states, size):
        return Canvas(size, (-5.0, 5.0, 5.0, -5.0)).dots(states[:, :2], 0.2, AGENT)

    def render(self, state, size=64):
        return self.pixels(state[None], size)[0]

    def sample(self, rng, count, length):  # behaviour that the world model learns from
        starts = np.concatenate([rng.uniform(-2, 2, (count, 2)), rng.normal(0, 0.1, (count, 2))], 1)
        actions = np.clip(smooth_noise(rng, count, length, 2), -1, 1)
        return self.simulate(starts, actions), actions
