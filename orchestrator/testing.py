"""Test doubles for backends, schedulers and ledgers: a world without physics, its exact model, evaluators that fail on cue."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from orchestrator.artifacts.drawing import Drawing, Drawn
from orchestrator.core.batch import Batch
from orchestrator.core.cell import Named, Point
from orchestrator.core.provenance import Provenance
from orchestrator.evaluation.results import failed_batch
from orchestrator.workers.evaluator import BatchResult, Evaluator
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


KILL_ONCE, POISON, RAISING, HUNGRY = 1001, 1002, 1003, 1004
"""Seeds that kill their worker once, kill it always, raise in it, and fit into memory with at most one other."""

UNDRAWABLE, DRAWN_ONCE = 2001, 2002
"""Seeds whose drawing raises, and whose drawing kills its worker once."""

LAST_WORDS = "cannot go on with this cell"
"""The text that a worker writes before `POISON` kills it."""


@dataclass(frozen=True)
class Faulty:
    """Makes evaluators that fail on the seeds above; `folder` records across processes which seeds have already killed."""

    folder: str

    def __call__(self, device: str) -> FaultyEvaluator:
        """An evaluator on `device`."""
        return FaultyEvaluator(Path(self.folder), device)


class FaultyEvaluator:
    """The plane's evaluator, with faults asked for by seed."""

    def __init__(self, folder: Path, device: str) -> None:
        self._folder = folder
        self._evaluator = plane_evaluator(device)

    def evaluate(self, batch: Batch) -> BatchResult:
        """The batch's results, after this evaluator's fault."""
        with (self._folder / f"log-{os.getpid()}").open("a") as log:
            log.write(f"{batch.point.point_id} {batch.seeds}\n")
        if RAISING in batch.seeds:
            raise RuntimeError("raised on purpose\nwith a second line")
        if HUNGRY in batch.seeds and len(batch.seeds) > 2:
            raise MemoryError("no room")
        if POISON in batch.seeds:
            os.write(2, f"{LAST_WORDS}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        if KILL_ONCE in batch.seeds:
            mark = self._folder / f"killed-{batch.point.point_id}"
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return self._evaluator.evaluate(batch)

    def draw(self, drawing: Drawing) -> Drawn:
        """The drawings, unless a seed asks for a fault."""
        seeds = [job.seed for job in drawing.jobs]
        if UNDRAWABLE in seeds:
            raise RuntimeError("cannot be drawn")
        if DRAWN_ONCE in seeds:
            mark = self._folder / f"drawn-{drawing.point.point_id}"
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return self._evaluator.draw(drawing)


@dataclass(frozen=True)
class Slow:
    """Makes evaluators that take `seconds` longer per batch until `until_file` exists; their host is their process."""

    seconds: float
    until_file: str = "/nonexistent"

    def __call__(self, device: str) -> SlowEvaluator:
        """An evaluator on `device`."""
        return SlowEvaluator(self, device)


class SlowEvaluator:
    """The plane's evaluator, slow until a file exists."""

    def __init__(self, slow: Slow, device: str) -> None:
        self._slow = slow
        self._evaluator = plane_evaluator(device)

    def evaluate(self, batch: Batch) -> BatchResult:
        """The batch's results, after this evaluator's fault."""
        if not Path(self._slow.until_file).exists():
            time.sleep(self._slow.seconds)
        result = self._evaluator.evaluate(batch)
        return replace(result, results=tuple(replace(record, host=str(os.getpid())) for record in result.results))

    def draw(self, drawing: Drawing) -> Drawn:
        """The drawings."""
        return self._evaluator.draw(drawing)


def quick_result(point: Point, seeds: tuple[int, ...]) -> BatchResult:
    """Failed records, made without planning, for tests of the ledger."""
    return failed_batch(Batch.of(point, seeds), "none", Provenance.here("cpu"))
