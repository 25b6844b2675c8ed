"""stable-worldmodel's folders: `ep_len.npz`, `ep_offset.npz`, `COLUMN.npz`, and per column of pictures a folder.

It holds a video per episode, `ep_N.mp4`, or a picture per step, `ep_N_step_M.jpeg`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from world_models.datasets.base import Column, DatasetError, column_of
from world_models.datasets.columns import ColumnReader, FlatReader, PerProcess
from world_models.datasets.digests import FileDigest
from world_models.datasets.index import EpisodeIndex, check_rows, index_of_lengths
from world_models.datasets.pictures import EncodedReader, picture_shape
from world_models.datasets.places import Place, local_path
from world_models.datasets.readers.npz import Member, load_member, npz_members
from world_models.datasets.recording import Recording
from world_models.datasets.video import shared_decoders, video_column
from world_models.files.names import inside

SUFFIXES = ("jpeg", "jpg", "png")


def recognise(place: Place) -> bool:
    """Whether a folder has `ep_len.npz`."""
    return place.local is not None and (place.local / "ep_len.npz").is_file()


def open_folder(place: Place) -> Recording:
    """Open such a folder. Raises DatasetError for files that do not fit each other."""
    path = local_path(place, "folder")
    offsets = _array(path / "ep_offset.npz") if (path / "ep_offset.npz").is_file() else None
    index = index_of_lengths(_array(path / "ep_len.npz"), str(path), offsets)
    columns: dict[str, Column] = {}
    readers: dict[str, ColumnReader] = {}
    notes = []
    for file in sorted(path.glob("*.npz")):
        name = file.stem
        if name in ("ep_len", "ep_offset"):
            continue
        member = _member(file)
        if member.dtype.kind not in "biuf" or not member.shape:
            notes.append(f"Column {name!r} is {member.dtype} and is left out: only numbers are read.")
            continue
        check_rows(index, member.shape[0], name, str(path))
        columns[name] = column_of(name, member.shape[1:], member.dtype)
        readers[name] = FlatReader(PerProcess(partial(load_member, file, member)), index.offsets, columns[name])
    for folder in sorted(each for each in path.iterdir() if each.is_dir()):
        columns[folder.name], readers[folder.name] = _pictures(folder, index)
    return Recording("folder", place.text, index, columns, readers, FileDigest(place), {}, tuple(notes))


def _member(file: Path) -> Member:
    members = npz_members(file)
    if list(members) != ["arr_0"]:
        raise DatasetError(f"{file} holds the arrays {', '.join(members)}, and arr_0 alone is expected: write it again.")
    return members["arr_0"]


def _array(file: Path) -> np.ndarray:
    return load_member(file, _member(file))


def _pictures(folder: Path, index: EpisodeIndex) -> tuple[Column, ColumnReader]:
    count = len(index.lengths)
    if (folder / "ep_0.mp4").is_file():
        files = [str(inside(folder, f"ep_{episode:d}.mp4")) for episode in range(count)]
        missing = next((file for file in files if not Path(file).is_file()), None)
        if missing is not None:
            raise DatasetError(f"{missing} is missing: copy the dataset again.")
        return video_column(folder.name, files, np.zeros(count, np.int64), index.lengths, shared_decoders())
    rows = PictureFiles(folder)
    (first,) = rows(int(np.argmax(index.lengths > 0)), 0, 1)
    if first is None:
        raise DatasetError(f"{folder} holds neither ep_0.mp4 nor ep_0_step_0.jpeg: copy the dataset again.")
    column = column_of(folder.name, picture_shape(first, f"{folder}, episode 0, row 0"), np.uint8)
    return column, EncodedReader(rows, column, str(folder))


@dataclass(frozen=True)
class PictureFiles:
    """One file per picture."""

    folder: Path

    def __call__(self, episode: int, start: int, stop: int) -> Sequence[bytes | None]:
        """The files of some rows; None for one that is missing."""
        return [self._file(episode, step) for step in range(start, stop)]

    def _file(self, episode: int, step: int) -> bytes | None:
        for suffix in SUFFIXES:
            file = inside(self.folder, f"ep_{episode:d}_step_{step:d}.{suffix}")
            if file.is_file():
                return file.read_bytes()
        return None
