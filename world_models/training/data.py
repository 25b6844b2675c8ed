"""Training data: a task's behaviour run in its simulator, stored as a Parquet file with one trajectory per row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from world_models.errors import UserError
from world_models.files.names import inside
from world_models.files.writing import whole_file
from world_models.processors import cpus_here
from world_models.tasks import Task
from world_models.training.machine.pools import received, sent

CHUNK = 50
"""Trajectories drawn by one random generator, so that the data do not depend on the number of processes."""


@dataclass(frozen=True)
class Dataset:
    """Trajectories of state observations and environment actions, float32."""

    observations: Float[np.ndarray, "trajectories time_plus_one observation"]
    actions: Float[np.ndarray, "trajectories time action"]

    @property
    def digest(self) -> str:
        """Content digest."""
        content = hashlib.sha256(str((self.observations.shape, self.actions.shape)).encode())
        content.update(np.ascontiguousarray(self.observations).tobytes())
        content.update(np.ascontiguousarray(self.actions).tobytes())
        return content.hexdigest()[:16]

    def windows(self, length: int, stride: int) -> Dataset:
        """Windows of `length` environment steps that begin every `stride` steps, so that starts are not only at rest."""
        begins = range(0, self.actions.shape[1] - length + 1, stride)
        return Dataset(
            np.concatenate([self.observations[:, b : b + length + 1] for b in begins]),
            np.concatenate([self.actions[:, b : b + length] for b in begins]),
        )

    def write(self, path: Path) -> None:
        """Write to `path` atomically; WriteError if that cannot be done."""
        columns = {
            "observations": _lists(self.observations),
            "actions": _lists(self.actions),
        }
        shape = {"observation_dim": self.observations.shape[2], "action_dim": self.actions.shape[2]}
        table = pa.table(columns).replace_schema_metadata({"grasp": json.dumps(shape)})
        with whole_file(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    @staticmethod
    def read(path: Path) -> Dataset:
        """Read a file written by `write`; raises UserError for any other file."""
        try:
            table = pq.read_table(path)
            shape = json.loads((table.schema.metadata or {})[b"grasp"])
            return Dataset(
                _array(table.column("observations"), shape["observation_dim"]),
                _array(table.column("actions"), shape["action_dim"]),
            )
        # A damaged file makes Arrow and NumPy raise ValueError, TypeError, IndexError and classes of their own.
        except (OSError, pa.ArrowException, LookupError, TypeError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path} is not a dataset of this package ({reason}): delete it, and it is collected again."
            ) from error


def collect(
    task: Task, trajectories: int, length: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> Dataset:
    """Run the task's training behaviour in its simulator, on all processors that this process may use.

    The result depends only on the arguments. Raises UserError for a task that cannot be sent to other processes.
    """
    chunks = range(-(-trajectories // CHUNK))
    sizes = [min(CHUNK, trajectories - CHUNK * chunk) for chunk in chunks]
    parts = []
    content = sent(task, f"task {task.name!r}")
    with ProcessPoolExecutor(min(cpus_here(), len(sizes)), mp_context=get_context("spawn")) as pool:
        runs = pool.map(_run, [content] * len(sizes), sizes, [length] * len(sizes), [(seed, chunk) for chunk in chunks])
        for part in runs:
            parts.append(part)
            if progress is not None:
                progress(len(parts), len(sizes))
    return Dataset(np.concatenate([o for o, _ in parts]), np.concatenate([a for _, a in parts]))


def collect_cached(
    task: Task, trajectories: int, length: int, seed: int, folder: Path, progress: Callable[[int, int], None] | None = None
) -> Dataset:
    """The result of `collect`, cached in `folder` under a name derived from the arguments."""
    key = json.dumps([dict(task.dynamics), trajectories, length, seed], sort_keys=True, default=str)
    path = inside(folder, f"{task.name}-{trajectories}x{length}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.parquet")
    if path.exists():
        return Dataset.read(path)
    data = collect(task, trajectories, length, seed, progress)
    data.write(path)
    return data


def _run(
    content: bytes, count: int, length: int, seed: tuple[int, int]
) -> tuple[Float[np.ndarray, "count time_plus_one observation"], Float[np.ndarray, "count time action"]]:
    task: Task = received(content)
    states, actions = task.sample(np.random.default_rng([*seed, 0xDA7A]), count, length)
    return task.observe(states).astype(np.float32), actions.astype(np.float32)


def _lists(values: Float[np.ndarray, "trajectories time feature"]) -> pa.FixedSizeListArray:
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1] * values.shape[2])


def _array(column: pa.ChunkedArray, features: int) -> Float[np.ndarray, "trajectories time feature"]:
    rows = len(column)
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    return flat.reshape(rows, -1, features)
