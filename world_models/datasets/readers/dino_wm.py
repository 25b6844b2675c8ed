"""DINO-WM's folders: `states.pth`, `rel_actions.pth` or `actions.pth`, `velocities.pth`, `seq_lengths.pkl`, and
`obses/episode_NNN.mp4` or `.pth`.

The files hold `[episodes, time, ...]`, padded to the longest. Their pickles are interpreted by a machine without callables.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from world_models.adapters.pickles.unpickle import ClassNames, read_object
from world_models.datasets.base import Column, DatasetError, Role, column_of
from world_models.datasets.columns import ColumnReader, PerProcess, windows_one_by_one
from world_models.datasets.digests import FileDigest
from world_models.datasets.index import index_of_lengths
from world_models.datasets.places import Place, local_path
from world_models.datasets.recording import Recording
from world_models.datasets.video import shared_decoders, video_column
from world_models.files.names import inside

ACTIONS = ("rel_actions", "actions", "abs_actions")
OTHERS = ("states", "velocities")
HELD = 8
"""Episodes of pictures in tensors that are kept."""


def recognise(place: Place) -> bool:
    """Whether a folder has `states.pth` and actions."""
    path = place.local
    return (
        path is not None and (path / "states.pth").is_file() and any(inside(path, f"{name}.pth").is_file() for name in ACTIONS)
    )


def open_dino_wm(place: Place) -> Recording:
    """Open such a folder. Raises DatasetError for files that do not fit each other, UserError for hostile ones."""
    path = local_path(place, "dino-wm")
    arrays = {n: tensor_of(inside(path, f"{n}.pth")) for n in (*OTHERS, *ACTIONS) if inside(path, f"{n}.pth").is_file()}
    count, longest = arrays["states"].shape[:2]
    index = index_of_lengths(_lengths(path, count, longest), str(path))
    columns: dict[str, Column] = {}
    readers: dict[str, ColumnReader] = {}
    for name, array in arrays.items():
        if array.ndim < 2 or array.shape[0] != count or (len(index.lengths) and array.shape[1] < index.lengths.max()):
            raise DatasetError(f"{path}/{name}.pth is {array.shape}, and {count} episodes of {longest} rows are expected.")
        role = Role.STATE if name in OTHERS else Role.ACTION if name == next(n for n in ACTIONS if n in arrays) else Role.OTHER
        unit = "px" if name == "rel_actions" else ""  # Push-T alone has them
        columns[name] = column_of(name, array.shape[2:], array.dtype, role=role, transition=name in ACTIONS, unit=unit)
        readers[name] = EpisodeReader(PerProcess(partial(tensor_of, inside(path, f"{name}.pth"))), columns[name])
    _add_pictures(path, index.lengths, columns, readers)
    notes = (
        ("Actions are as they are stored; DINO-WM divides those of Push-T by 100, as problems and training do.",)
        if "rel_actions" in arrays
        else ()
    )
    return Recording("dino-wm", place.text, index, columns, readers, FileDigest(place), {}, notes)


def tensor_of(path: Path) -> np.ndarray:
    """The tensor in a PyTorch file. Raises UserError for any other content."""
    found = read_object(path, ClassNames(()))
    if not isinstance(found, torch.Tensor) or found.is_complex():
        raise DatasetError(f"{path} holds {type(found).__name__} and not one tensor: copy it again.")
    return (found.float() if found.dtype is torch.bfloat16 else found).numpy()


def _lengths(path: Path, count: int, longest: int) -> Int[np.ndarray, " episodes"]:
    file = next((each for each in (path / "seq_lengths.pkl", path / "seq_lengths.pth") if each.is_file()), None)
    if file is None:
        return np.full(count, longest, np.int64)
    found = read_object(file, ClassNames(()))
    values = found.tolist() if isinstance(found, torch.Tensor) else found
    if not isinstance(values, list) or len(values) != count or not all(type(n) is int and 0 <= n <= longest for n in values):
        raise DatasetError(f"{file} is not a list of {count} lengths of at most {longest}: copy it again.")
    return np.array(values, np.int64)


def _add_pictures(
    path: Path, lengths: Int[np.ndarray, " episodes"], columns: dict[str, Column], readers: dict[str, ColumnReader]
) -> None:
    folder, count = path / "obses", len(lengths)
    if not folder.is_dir() or not count:
        return
    names = [f"episode_{episode:03d}" for episode in range(count)]
    if (folder / "episode_000.mp4").is_file():
        files = [str(inside(folder, f"{name}.mp4")) for name in names]
        missing = next((file for file in files if not Path(file).is_file()), None)
        if missing is not None:
            raise DatasetError(f"{missing} is missing: copy the dataset again.")
        column, reader = video_column("obses", files, np.zeros(count, np.int64), lengths, shared_decoders(), exact=False)
        columns["obses"], readers["obses"] = column, reader
    elif (folder / "episode_000.pth").is_file():
        pictures = PerProcess(partial(PictureTensors, folder))
        first = pictures.get().episode(0)
        columns["obses"] = column_of("obses", first.shape[1:], first.dtype, role=Role.PIXELS)
        readers["obses"] = TensorReader(pictures, columns["obses"])


@dataclass(frozen=True)
class EpisodeReader:
    """A column that is kept as `[episodes, time, *shape]`."""

    array: PerProcess[np.ndarray]
    column: Column

    def read(self, episode: int, start: int, stop: int) -> np.ndarray:
        """The rows, copied."""
        return self.array.get()[episode, start:stop].copy()

    def read_windows(self, episodes: Int[np.ndarray, " n"], starts: Int[np.ndarray, " n"], rows: int) -> np.ndarray:
        """The windows, gathered at once."""
        return self.array.get()[episodes[:, None], starts[:, None] + np.arange(rows)]


class PictureTensors:
    """Pictures of one PyTorch file per episode; those read last are kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: OrderedDict[int, np.ndarray] = OrderedDict()

    def episode(self, episode: int) -> np.ndarray:
        """The pictures of an episode."""
        held = self._held.get(episode)
        if held is None:
            held = self._held[episode] = tensor_of(inside(self._folder, f"episode_{episode:03d}.pth"))
            while len(self._held) > HELD:
                self._held.popitem(last=False)
        return held


@dataclass(frozen=True)
class TensorReader:
    """A column of pictures in one PyTorch file per episode."""

    pictures: PerProcess[PictureTensors]
    column: Column

    def read(self, episode: int, start: int, stop: int) -> np.ndarray:
        """The rows, copied."""
        return self.pictures.get().episode(episode)[start:stop].copy()

    def read_windows(self, episodes: Int[np.ndarray, " n"], starts: Int[np.ndarray, " n"], rows: int) -> np.ndarray:
        """The windows, one by one."""
        return windows_one_by_one(self, episodes, starts, rows)
