"""Training data with images: an Arrow file with one row per frame, memory-mapped for reading.

Most of a scene does not move, so a frame is stored as the pixels in which it differs from the file's background: a few hundred
bytes instead of 12 KB, without loss.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int, UInt8, UInt16
from torch import Tensor

from world_models.errors import UserError, require
from world_models.files.writing import whole_file
from world_models.processors import cpus_here
from world_models.tasks import Task
from world_models.tasks.base import Visible
from world_models.training.data import CHUNK
from world_models.training.machine.pools import received, sent

LARGEST = 256
"""Largest side of an image, px: a pixel's index has to fit 16 bits."""


@dataclass(frozen=True)
class PictureData(ABC):
    """Trajectories of images, actions and labels. Frame t of trajectory i is row i * (length + 1) + t."""

    actions: Float[np.ndarray, "trajectories time action"]
    """Environment actions."""
    observations: Float[np.ndarray, "trajectories time_plus_one observation"]
    """State observations, which are the labels of probes and cards."""
    proprioception: Float[np.ndarray, "trajectories time_plus_one feature"]

    @property
    def trajectories(self) -> int:
        """Number of trajectories."""
        return len(self.actions)

    @property
    def length(self) -> int:
        """Environment steps of each trajectory."""
        return self.actions.shape[1]

    @property
    def count(self) -> int:
        """Number of frames."""
        return self.trajectories * (self.length + 1)

    @property
    @abstractmethod
    def digest(self) -> str:
        """Digest of what is learned from."""

    @abstractmethod
    def pixels(self, frames: Int[np.ndarray, " n"]) -> UInt8[Tensor, "n size size 3"]:
        """The images of some frames, by row number."""


@dataclass(frozen=True)
class Frames(PictureData):
    """Simulated trajectories, whose images are kept by what differs from their common background."""

    background: UInt8[np.ndarray, "area 3"]
    offsets: Int[np.ndarray, " frames_plus_one"]
    """Start of each frame's pixels among those stored."""
    positions: UInt16[np.ndarray, " kept"]
    colours: UInt8[np.ndarray, "kept 3"]

    @property
    def size(self) -> int:
        """Side of the images, px."""
        return round(len(self.background) ** 0.5)

    @property
    def digest(self) -> str:
        """Content digest of the simulated data and the image size."""
        content = hashlib.sha256(str((self.size, self.observations.shape, self.actions.shape)).encode())
        for part in (self.background, self.observations, self.actions):
            content.update(np.ascontiguousarray(part).tobytes())
        return content.hexdigest()[:16]

    def pixels(self, frames: Int[np.ndarray, " n"]) -> UInt8[Tensor, "n size size 3"]:
        """The images of some frames, by row number."""
        begins, counts = self.offsets[frames], self.offsets[frames + 1] - self.offsets[frames]
        first = np.cumsum(counts) - counts
        source = np.arange(counts.sum()) + np.repeat(begins - first, counts)
        area = len(self.background)
        target = np.repeat(np.arange(len(frames)) * area, counts) + self.positions[source]
        result = torch.from_numpy(self.background.copy()).repeat(len(frames), 1)
        result[torch.from_numpy(target)] = torch.from_numpy(self.colours[source])
        return result.view(len(frames), self.size, self.size, 3)

    def write(self, path: Path) -> None:
        """Write to `path` atomically; WriteError if that cannot be done."""
        trajectories, length, action = self.actions.shape
        padded = np.concatenate([self.actions, np.zeros((trajectories, 1, action), np.float32)], 1)
        columns = {
            "positions": pa.LargeListArray.from_arrays(pa.array(self.offsets), pa.array(self.positions)),
            "colours": pa.LargeListArray.from_arrays(pa.array(3 * self.offsets), pa.array(self.colours.reshape(-1))),
            "action": _rows(padded),
            "observation": _rows(self.observations),
            "proprioception": _rows(self.proprioception),
        }
        facts = {"trajectories": trajectories, "length": length}
        metadata = {"grasp": json.dumps(facts), "background": self.background.tobytes()}
        batch = pa.record_batch(columns).replace_schema_metadata(metadata)
        with (
            whole_file(path) as temporary,
            pa.OSFile(str(temporary), "wb") as sink,
            pa.ipc.new_file(sink, batch.schema) as writer,
        ):
            writer.write_batch(batch)

    @staticmethod
    def read(path: Path) -> Frames:
        """Memory-map a file written by `write`; raises UserError for any other file."""
        try:
            batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
            metadata = batch.schema.metadata or {}
            facts = json.loads(metadata[b"grasp"])
            shape = (facts["trajectories"], facts["length"] + 1)
            kept = batch.column("positions")
            return Frames(
                actions=_features(batch.column("action"), shape)[:, :-1],
                observations=_features(batch.column("observation"), shape),
                proprioception=_features(batch.column("proprioception"), shape),
                background=np.frombuffer(metadata[b"background"], np.uint8).reshape(-1, 3),
                offsets=kept.offsets.to_numpy(),
                positions=kept.values.to_numpy(),
                colours=batch.column("colours").values.to_numpy().reshape(-1, 3),
            )
        # A damaged file makes Arrow and NumPy raise errors of many classes.
        except (OSError, pa.ArrowException, LookupError, TypeError, ValueError, RecursionError) as error:
            raise UserError(
                f"{path} does not hold frames of this package ({error}): delete it, and they are collected again."
            ) from error


def collect_frames(
    task: Task,
    trajectories: int,
    length: int,
    seed: int,
    size: int,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Frames:
    """Run and render the task's training behaviour; cached in `folder` under a name derived from the arguments."""
    seen = visible(task)
    require(0 < size <= LARGEST, f"image size {size} must be between 1 and {LARGEST} px.")
    key = json.dumps([dict(task.dynamics), trajectories, length, seed, size, "frames"], sort_keys=True, default=str)
    name = f"{task.name}-{trajectories}x{length}-{size}px-{hashlib.sha256(key.encode()).hexdigest()[:12]}.arrow"
    if not (folder / name).exists():
        _collect(seen, trajectories, length, seed, size, progress).write(folder / name)
    return Frames.read(folder / name)


class VisibleTask(Task, Visible, Protocol):
    """A task that renders images in batches."""


def visible(task: Task) -> VisibleTask:
    """The same task; raises UserError if it renders no images."""
    require(isinstance(task, Visible), f"task {task.name!r} renders no images: train a state model for it.")
    return cast(VisibleTask, task)


def background_of(task: VisibleTask, size: int) -> UInt8[np.ndarray, "area 3"]:
    """Common background of a task's images: the median colour of every pixel."""
    states, _ = task.sample(np.random.default_rng(0xBAC6), 101, 1)
    pictures = task.pixels(states[:, 0], size)
    return np.median(pictures, 0).astype(np.uint8).reshape(-1, 3)


def _collect(
    task: VisibleTask, trajectories: int, length: int, seed: int, size: int, progress: Callable[[int, int], None] | None
) -> Frames:
    sizes = [min(CHUNK, trajectories - begin) for begin in range(0, trajectories, CHUNK)]
    background = background_of(task, size)
    count = len(sizes)
    parts: list[Frames] = []
    content = sent(task, f"task {task.name!r}")
    with ProcessPoolExecutor(min(cpus_here(), count), mp_context=get_context("spawn")) as pool:
        seeds = [(seed, chunk) for chunk in range(count)]
        for part in pool.map(_run, [content] * count, sizes, [length] * count, seeds, [background] * count):
            parts.append(part)
            if progress is not None:
                progress(len(parts), count)
    kept = np.concatenate([np.diff(part.offsets) for part in parts])
    return Frames(
        actions=np.concatenate([part.actions for part in parts]),
        observations=np.concatenate([part.observations for part in parts]),
        proprioception=np.concatenate([part.proprioception for part in parts]),
        background=background,
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)]),
        positions=np.concatenate([part.positions for part in parts]),
        colours=np.concatenate([part.colours for part in parts]),
    )


def _run(content: bytes, count: int, length: int, seed: tuple[int, int], background: UInt8[np.ndarray, "area 3"]) -> Frames:
    task: VisibleTask = received(content)
    # The same generator as in data.py: state models and pixel models of a task learn from the same behaviour.
    states, actions = task.sample(np.random.default_rng([*seed, 0xDA7A]), count, length)
    flat = states.reshape(-1, states.shape[2])
    size = round(len(background) ** 0.5)
    kept, positions, colours = [], [], []
    for begin in range(0, len(flat), 256):
        pictures = task.pixels(flat[begin : begin + 256], size).reshape(-1, len(background), 3)
        frame, position = np.nonzero((pictures != background).any(2))
        kept.append(np.bincount(frame, minlength=len(pictures)))
        positions.append(position.astype(np.uint16))
        colours.append(pictures[frame, position])
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(kept))])
    return Frames(
        actions=actions.astype(np.float32),
        observations=task.observe(states).astype(np.float32),
        proprioception=task.proprioception(states).astype(np.float32),
        background=background,
        offsets=offsets,
        positions=np.concatenate(positions),
        colours=np.concatenate(colours),
    )


def _rows(values: Float[np.ndarray, "trajectories time feature"]) -> pa.FixedSizeListArray:
    trajectories, time, feature = values.shape
    flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
    if feature == 0:
        return pa.FixedSizeListArray.from_buffers(pa.list_(pa.float32(), 0), trajectories * time, [None], children=[flat])
    return pa.FixedSizeListArray.from_arrays(flat, feature)


def _features(column: pa.FixedSizeListArray, shape: tuple[int, int]) -> Float[np.ndarray, "trajectories time feature"]:
    return column.flatten().to_numpy().reshape(*shape, column.type.list_size)
