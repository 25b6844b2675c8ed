"""Behaviour for Push-T: a scripted pusher, which repeatedly walks around the block and pushes it, and smooth random actions."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

CLEARANCE = 100.0
"""Distance from the block's centre, px, beyond which the agent can't touch it."""


class Pusher:
    """Scripted pusher: walks to a point next to the block, pushes towards or past its centre, and repeats from another side."""

    def __init__(self, rng: np.random.Generator, pace: float, noise: float = 0.0) -> None:
        self.rng = rng
        self.pace = pace
        self.noise = noise
        self.pushing = 0
        self.side: float | None = None

    def act(self, agent: Float[np.ndarray, " 2"], block: Float[np.ndarray, " 2"]) -> Float[np.ndarray, " 2"]:
        """The next relative action in `[-1, 1]^2`, given agent and block centre (px)."""
        if self.side is None:
            self._choose(agent, block)
        if self.pushing > 0:
            step = self.push_direction * self.speed
            self.pushing -= 1
            if self.pushing == 0:
                self.side = None
        else:
            step = self._approach(agent, block)
        return np.clip(step + self.noise * self.rng.normal(size=2), -1.0, 1.0)

    def _choose(self, agent: Float[np.ndarray, " 2"], block: Float[np.ndarray, " 2"]) -> None:
        """Choose a side to push from: mostly near the agent, and such that the block stays inside the arena."""
        inward = np.arctan2(*(np.array([256.0, 256.0]) - block)[::-1])
        offset = np.linalg.norm(block - 256.0) / 256.0
        here = np.arctan2(*(agent - block)[::-1])
        outward_side = inward + np.pi
        near_wall = self.rng.random() < offset
        mean = outward_side if near_wall else here
        self.side = mean + self.rng.normal(0.0, 0.7)
        self.speed = self.pace * self.rng.uniform(0.6, 1.2)
        self.lateral = self.rng.normal(0.0, 22.0)
        self.length = int(self.rng.uniform(2.5, 6.0) / self.speed)

    def _approach(self, agent: Float[np.ndarray, " 2"], block: Float[np.ndarray, " 2"]) -> Float[np.ndarray, " 2"]:
        """Action towards the chosen side, around the block; switches to pushing on arrival."""
        assert self.side is not None
        normal = np.array([np.cos(self.side), np.sin(self.side)])
        tangent = np.array([-normal[1], normal[0]])
        post = np.clip(block + CLEARANCE * normal + self.lateral * tangent, 15.0, 497.0)
        error = post - agent
        if np.linalg.norm(error) < 25.0:
            self.pushing = self.length
            self.push_direction = -normal + self.rng.normal(0.0, 0.15) * tangent
            return self.push_direction * self.speed
        return _towards(_detour(agent, post, block), 1.2 * self.pace)

    push_direction: Float[np.ndarray, " 2"]
    speed: float
    lateral: float
    length: int


def _detour(
    agent: Float[np.ndarray, " 2"], post: Float[np.ndarray, " 2"], block: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, " 2"]:
    """Offset to walk: straight to the post, or along the clearance circle if the block is in between."""
    error = post - agent
    along = np.clip(np.dot(block - agent, error) / max(np.dot(error, error), 1e-9), 0.0, 1.0)
    nearest = agent + along * error
    if np.linalg.norm(nearest - block) > 0.85 * CLEARANCE:
        return error
    radial = agent - block
    distance = np.linalg.norm(radial) + 1e-9
    tangent = np.array([-radial[1], radial[0]]) / distance
    if np.dot(tangent, error) < 0:
        tangent = -tangent
    return 70.0 * tangent + (CLEARANCE - distance) * radial / distance


def _towards(offset: Float[np.ndarray, " 2"], longest: float) -> Float[np.ndarray, " 2"]:
    """Relative action for an offset in px, of length at most `longest`."""
    action = offset / 60.0
    return action * min(1.0, longest / (np.linalg.norm(action) + 1e-9))


def random_actions(rng: np.random.Generator, length: int) -> Float[np.ndarray, "length 2"]:
    """Smooth random relative actions: noise held and mixed over a random time scale."""
    keep = rng.uniform(0.3, 0.95)
    scale = rng.uniform(0.2, 0.9)
    result = np.empty((length, 2))
    action = rng.normal(0.0, scale, 2)
    for t in range(length):
        action = keep * action + np.sqrt(1 - keep**2) * rng.normal(0.0, scale, 2)
        result[t] = action
    return np.clip(result, -1.0, 1.0)
