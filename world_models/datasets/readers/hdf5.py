"""HDF5 files: opened once per process, without following what they say of other files."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from world_models.datasets.base import Column, DatasetError
from world_models.datasets.columns import PerProcess, windows_one_by_one
from world_models.datasets.readers.hdf5_chunks import ChunkedArray
from world_models.datasets.refusals import library, reading

MAGIC = b"\x89HDF\r\n\x1a\n"
CACHE_BYTES = 64 * 2**20
"""Bytes of unpacked chunks that are kept per column."""
HELD = 4096
"""Open arrays that are kept."""
MAX_CHUNK = 2**30
"""Bytes of a chunk, which is unpacked as a whole."""


def is_hdf5(path: Path | None) -> bool:
    """Whether a file begins as HDF5 does."""
    if path is None or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(8) == MAGIC


class H5File:
    """An open file, and the arrays in it that were used last."""

    def __init__(self, path: Path) -> None:
        h5py = library("h5py", "HDF5")
        library_of_filters()
        with reading(str(path)):
            self.file = h5py.File(path, "r", rdcc_nbytes=CACHE_BYTES, rdcc_nslots=100_003)
        self.path = path
        self._h5py = h5py
        self._held: OrderedDict[str, Any] = OrderedDict()

    def array(self, name: str) -> Any:
        """An array by its path. Raises DatasetError if it is missing, or kept in another file."""
        held = self._held.get(name)
        if held is None:
            held = self._held[name] = self._found(name)
            while len(self._held) > HELD:
                self._held.popitem(last=False)
        return held

    def names(self, group: str = "/") -> dict[str, bool]:
        """Names of the arrays (True) and groups (False) in a group, in the file's order."""
        found = {}
        holder = self.file[group]
        for name in holder:
            link = holder.get(name, getlink=True)
            if isinstance(link, self._h5py.ExternalLink):
                raise DatasetError(f"{self.path}: {group.rstrip('/')}/{name} leads to another file, which is not followed.")
            kind = holder.get(name, getclass=True)
            found[name] = kind is self._h5py.Dataset
        return found

    def leaves(self, group: str, prefix: str = "", depth: int = 0) -> list[str]:
        """Paths, relative to a group, of the arrays in it and in its groups."""
        if depth > 20:
            raise DatasetError(f"{self.path}: groups are nested deeper than 20 levels in {group}.")
        found = []
        for name, is_array in self.names(group).items():
            if is_array:
                found.append(f"{prefix}{name}")
            else:
                found += self.leaves(f"{group.rstrip('/')}/{name}", f"{prefix}{name}/", depth + 1)
        return found

    def _found(self, name: str) -> Any:
        found = self.file.get(name)
        if not isinstance(found, self._h5py.Dataset):
            raise DatasetError(f"{self.path} has no array {name}: copy it again.")
        if found.external or found.is_virtual:
            raise DatasetError(f"{self.path}: array {name} is kept in another file, which is not opened.")
        if found.chunks and np.prod(found.chunks, dtype=np.float64) * found.dtype.itemsize > MAX_CHUNK:
            raise DatasetError(
                f"{self.path}: array {name} has chunks of more than {MAX_CHUNK} bytes: write it in smaller ones."
            )
        return found


def library_of_filters() -> None:
    """Register the compression filters of the package hdf5plugin, where it is installed."""
    try:
        import hdf5plugin  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        return


@dataclass(frozen=True)
class FlatArray:
    """Opens an array of a file, which all columns of a process share."""

    file: PerProcess[H5File]
    name: str

    def __call__(self) -> Any:
        """The array of this process."""
        opened = self.file.get()
        return ChunkedArray(opened.array(self.name), opened.path)


@dataclass(frozen=True)
class GroupReader:
    """A column that each episode keeps in a group of its own."""

    file: PerProcess[H5File]
    groups: tuple[str, ...]
    """The group of each episode."""
    name: str
    """Path of the array within a group."""
    column: Column

    def read(self, episode: int, start: int, stop: int) -> np.ndarray:
        """The rows, as they are stored."""
        array = self.file.get().array(f"{self.groups[episode]}/{self.name}")
        if array.shape[1:] != self.column.shape or stop > array.shape[0]:
            raise DatasetError(
                f"{self.file.get().path}, episode {episode}: column {self.name!r} is {array.shape}, and "
                f"{self.column.shape} per row, at least {stop} rows, is expected: copy the dataset again."
            )
        return np.asarray(array[start:stop]).astype(self.column.dtype, copy=False)

    def read_windows(self, episodes: np.ndarray, starts: np.ndarray, rows: int) -> np.ndarray:
        """The windows, one by one."""
        return windows_one_by_one(self, episodes, starts, rows)
