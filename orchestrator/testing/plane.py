"""A world without physics and its exact model: plans take milliseconds, and succeed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from orchestrator.core.cell import Named, Point
from orchestrator.workers.evaluator import Evaluator
from world_models.base import SquaredDistance
from world_models.checkpoints.store import LoadedModel
from world_models.errors import UserError
from world_models.tasks import Problem, Task
from world_models.tasks.base import check_horizon

DIGEST = "0123456789abcdef"
GD = {"iterations": 60, "lr": 0.2, "optimizer": "adam", "init_noise": 0.0}


@dataclass(frozen=True)
class Plane:
    """A point that moves by `speed` times its action; its pose is its state."""

    action_block: int = 1
    speed: float = 0.1

    name = "plane"
    version = 1
    action_dim = 2
    observation_dim = 2
    distance_unit = "m"
    goal_tolerance = np.full(2, 0.05)

    @property
    def dynamics(self) -> Mapping[str, object]:
        """The properties that determine how states change."""
        return {"name": self.name, "speed": self.speed, "action_block": self.action_block}

    def problem(self, seed: int, horizon: int) -> Problem:
        """A problem from the start of a random walk of `horizon` steps to its end."""
        check_horizon(horizon, self.action_block)
        if seed < 0:
            raise UserError(f"plane: seed {seed} is negative: give 0 or more.")
        rng = np.random.default_rng([seed, horizon])
        actions = rng.uniform(-1, 1, (horizon, 2)) * 0.5 + rng.uniform(-0.5, 0.5, 2)
        start = rng.normal(size=2)
        return Problem(seed, horizon, "free", start, self.simulate(start[None], actions[None])[0, -1], actions)

    def simulate(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Simulator states `[n, time + 1, 2]` under actions `[n, time, 2]`."""
        return np.concatenate([states[:, None], states[:, None] + self.speed * np.cumsum(actions, 1)], 1)

    def observe(self, states: np.ndarray) -> np.ndarray:
        """Observations are the states."""
        return states

    def pose(self, observations: np.ndarray) -> np.ndarray:
        """Poses are the states."""
        return observations

    def distance(self, poses: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Euclidean distance, m."""
        return np.linalg.norm(poses - goals, axis=-1)

    def reached(self, poses: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Whether poses lie within 0.05 m of the goal."""
        return self.distance(poses, goals) < 0.05

    def pose_errors(self, poses: np.ndarray, goals: np.ndarray) -> dict[str, np.ndarray]:
        """Position error, m."""
        return {"position": self.distance(poses, goals)}

    def render(self, state: np.ndarray, size: int = 64) -> np.ndarray:
        """An image with the point in blue."""
        picture = np.full((size, size, 3), 255, np.uint8)
        x, y = np.clip((state / 8 + 0.5) * size, 1, size - 2).astype(int)
        picture[y - 1 : y + 2, x - 1 : x + 2] = (0, 114, 178)
        return picture

    def on_picture(self, poses: np.ndarray) -> np.ndarray:
        """Positions of poses in an image, as fractions of its side."""
        return (poses / 8 + 0.5)[..., None, :]

    def sample(self, rng: np.random.Generator, count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Random states and actions."""
        return rng.normal(size=(count, 2)), rng.uniform(-1, 1, (count, length, 2))


class PlaneModel:
    """Plane's exact dynamics, off by `drift` m per step in x."""

    state_shape = (2,)
    history = 1
    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, block: int = 1, drift: float = 0.0) -> None:
        self.action_dim = 2 * block
        self._drift = torch.tensor([drift, 0.0])

    def encode(self, observation: Tensor) -> Tensor:
        """States are the observations."""
        return observation

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        """The next state after the sum of the block's actions, plus the drift."""
        displacement = actions[:, -1].unflatten(-1, (-1, 2)).sum(1)
        return states[:, -1] + 0.1 * displacement + self._drift


def load_plane(name: str, device: str) -> LoadedModel:
    """The model `plane`, `plane_2` (two environment steps per model step) or `plane_wrong` (which drifts)."""
    model = PlaneModel(block=2 if name == "plane_2" else 1, drift=0.05 if name == "plane_wrong" else 0.0)
    card = {"dynamics": Plane(2 if name == "plane_2" else 1).dynamics}
    return LoadedModel(name, model, SquaredDistance(), lambda states: states, card, DIGEST)


def make_plane(name: str, **settings: object) -> Task:
    """The plane, under any name."""
    return Plane(**settings)  # pyright: ignore[reportArgumentType]


def plane_evaluator(device: str = "cpu") -> Evaluator:
    """An evaluator of the plane and its exact model."""
    return Evaluator(device, load_plane, make_plane)


def plane_point(horizon: int = 8, model: str = "plane", task: Mapping | None = None, planner: str = "gd", **settings) -> Point:
    """A point on the plane, planned by gradient descent by default."""
    return Point(Named.of("plane", task), model, DIGEST, Named.of(planner, {**GD, **settings}), horizon)
