"""Trajectories with pictures from recorded episodes: cut, made small, and kept in the data folder in our own form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from world_models.datasets import Column, DatasetError, Episodes, Role, open_dataset
from world_models.datasets.arrow_writing import ArrowWriter
from world_models.datasets.blocks import BLOCK_BYTES
from world_models.datasets.problems.columns import Columns
from world_models.errors import UnknownNameError, UserError, require
from world_models.files.names import inside
from world_models.tasks import Task
from world_models.tasks.base import ObservedProprioception, Visible
from world_models.tasks.recorded.pictures import as_pictures
from world_models.training.frames import PictureData


@dataclass(frozen=True)
class RecordedFrames(PictureData):
    """Recorded trajectories of one length; their numbers are in memory, their images mapped from a file."""

    kept: Episodes
    """One episode per trajectory."""
    key: str
    """Digest of the dataset, its columns, and how they were cut."""

    @property
    def digest(self) -> str:
        """Digest of the dataset and of how it was cut."""
        return self.key

    def pixels(self, frames: Int[np.ndarray, " n"]) -> UInt8[Tensor, "n size size 3"]:
        """The images of some frames, by row number."""
        trajectories, times = np.divmod(frames, self.length + 1)
        return torch.from_numpy(self.kept.windows(trajectories, times, 1, ["pixels"])["pixels"][:, 0])


@dataclass(frozen=True)
class PictureColumns:
    """Which columns of a dataset a task's pixel model learns from."""

    numbers: Columns
    pixels: str
    proprioception: str | None = None
    """None: it is taken from the observation."""
    features: int = 0
    """Number of features of the proprioception that is learned from."""

    @property
    def names(self) -> list[str]:
        """All of them."""
        named = [] if self.proprioception is None else [self.proprioception]
        return list(dict.fromkeys([self.pixels, *self.numbers.names, *named]))

    def senses(self, values: dict[str, np.ndarray], seen: Float[np.ndarray, "rows observation"]) -> np.ndarray:
        """The proprioception of some rows, `[rows, feature]` float32."""
        if not self.features:
            return np.empty((len(seen), 0), np.float32)
        if self.proprioception is not None:
            return values[self.proprioception].reshape(len(seen), -1).astype(np.float32)
        task = self.numbers.task
        assert isinstance(task, ObservedProprioception)
        return task.observed_proprioception(seen.astype(np.float64)).astype(np.float32)


def proprioception_for(task: Task, data: Episodes, name: str | None) -> int:
    """Number of features of a task's proprioception, which a named column or the observation holds.

    Raises UserError where neither does.
    """
    require(isinstance(task, Visible), f"task {task.name!r} has no proprioception: set train.proprioception=false.")
    assert isinstance(task, Visible)
    size = task.proprioception_dim
    if name is None:
        require(
            isinstance(task, ObservedProprioception),
            f"the proprioception of task {task.name!r} does not follow from its observation: name the column of its {size} "
            "features with recorded.proprioception=NAME.",
        )
        return size
    if name not in data.columns:
        raise UnknownNameError(f"column of {data.path}", name, data.columns)
    column = data.columns[name]
    require(
        int(np.prod(column.shape, dtype=np.int64)) == size,
        f"column {name!r} of {data.path} is {list(column.shape)}, and task {task.name!r} has {size} features of "
        "proprioception: name another with recorded.proprioception=NAME.",
    )
    return size


def cut(data: Episodes, episodes: Int[np.ndarray, " chosen"], length: int) -> Int[np.ndarray, "trajectories two"]:
    """Episode and first row of the trajectories of `length` steps that some episodes are cut into, without their last rows.

    Raises UserError if no episode is that long.
    """
    counts = data.lengths[episodes] // (length + 1)
    longest = int(data.lengths[episodes].max()) if len(episodes) else 0
    require(
        bool(counts.any()),
        f"none of {len(episodes)} episodes of {data.path} has the {length + 1} rows of a trajectory, and the longest has "
        f"{longest}: set train.length to the steps of most episodes, or recorded.validation to another share.",
    )
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.stack([np.repeat(episodes, counts), number * (length + 1)], axis=1)


def recorded_frames(
    data: Episodes,
    columns: PictureColumns,
    starts: Int[np.ndarray, "trajectories two"],
    length: int,
    size: int,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> RecordedFrames:
    """The trajectories that begin at some episodes and rows, with pictures of `size` px.

    They are kept in `folder` under a name derived from the arguments, and read from the dataset only once. Reading that was
    interrupted goes on. Raises UserError for actions outside of the task's bounds and observations that are not numbers.
    """
    task = columns.numbers.task
    about = [data.digest(), dict(task.dynamics), columns.names, columns.proprioception, columns.features, length, size]
    key = json.dumps([*about, hashlib.sha256(np.ascontiguousarray(starts, "<i8").tobytes()).hexdigest()], default=str)
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = inside(folder, f"{task.name}-recorded-{len(starts)}x{length}-{size}px-{digest[:12]}")
    if not (path / "dataset.json").exists():
        _write(path, data, columns, starts, length, size, digest, progress)
    try:
        kept = open_dataset(path, "arrow")
        whole = kept.windows(np.arange(len(starts)), np.zeros(len(starts), np.int64), length + 1, _numbers(columns))
    except DatasetError as error:
        raise UserError(f"{path} is damaged: delete it, and the pictures are read from {data.path} again.") from error
    none = np.empty((len(starts), length + 1, 0), np.float32)
    return RecordedFrames(
        actions=whole["action"][:, :-1],
        observations=whole["observation"],
        proprioception=whole.get("proprioception", none),
        kept=kept,
        key=digest,
    )


def _numbers(columns: PictureColumns) -> list[str]:
    return ["observation", "action", *(["proprioception"] if columns.features else [])]


def _write(
    path: Path,
    data: Episodes,
    columns: PictureColumns,
    starts: Int[np.ndarray, "trajectories two"],
    length: int,
    size: int,
    digest: str,
    progress: Callable[[int, int], None] | None,
) -> None:
    task = columns.numbers.task
    sizes = {"observation": task.observation_dim, "action": task.action_dim, "proprioception": columns.features}
    kept = [Column("pixels", (size, size, 3), "uint8", Role.PIXELS)]
    kept += [Column(name, (sizes[name],), "float32", transition=name == "action") for name in _numbers(columns)]
    writer = ArrowWriter(path, kept, source=digest)
    try:
        for number in range(writer.episodes, len(starts)):
            writer.begin()
            for rows in _rows(data, columns, int(starts[number, 0]), int(starts[number, 1]), length, size):
                writer.append(rows)
            writer.end()
            if progress is not None:
                progress(number + 1, len(starts))
    finally:
        if writer.episodes < len(starts):
            writer.discard()
    writer.finish()


def _rows(
    data: Episodes, columns: PictureColumns, episode: int, first: int, length: int, size: int
) -> Iterator[dict[str, np.ndarray]]:
    """The rows of a trajectory, a few at a time; no action is taken in the last one."""
    last = first + length
    step = max(1, BLOCK_BYTES // max(1, sum(data.columns[name].row_bytes for name in columns.names)))
    for begin in range(first, last + 1, step):
        end = min(begin + step, last + 1)
        values = data.rows(episode, begin, end, columns.names)
        seen = columns.numbers.observations(values, 1)
        senses = columns.senses(values, seen)
        require(
            bool(np.isfinite(seen).all() and np.isfinite(senses).all()),
            f"{data.path}, episode {episode}, rows {begin} to {end - 1} have observations that are not numbers: "
            "`grasp data inspect` says where.",
        )
        actions = np.zeros((end - begin, columns.numbers.task.action_dim), np.float32)
        taken = min(end, last) - begin
        actions[:taken] = columns.numbers.actions(values[columns.numbers.action][:taken], 1)
        rows = {"pixels": as_pictures(values[columns.pixels], size), "observation": seen, "action": actions}
        yield {**rows, "proprioception": senses} if columns.features else rows
