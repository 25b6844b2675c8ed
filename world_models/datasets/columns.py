"""Readers of single columns: from one array that holds all rows, from one array per episode, or padded at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

from world_models.datasets.base import Column

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Something open, such as a file, that each process opens for itself when it first needs it.

    Only the function that opens it is pickled, and a forked process never uses its parent's.
    """

    def __init__(self, opener: Callable[[], T]) -> None:
        self._opener = opener
        self._opened: tuple[int, T] | None = None

    def get(self) -> T:
        """The opened object of this process."""
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            opened = self._opened = (os.getpid(), self._opener())
        return opened[1]

    def __reduce__(self) -> tuple[Any, ...]:
        return PerProcess, (self._opener,)


@runtime_checkable
class ColumnReader(Protocol):
    """Reads one column."""

    def read(self, episode: int, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop - 1` of an episode, `[stop - start, *shape]`."""
        ...

    def read_windows(self, episodes: Int[np.ndarray, " n"], starts: Int[np.ndarray, " n"], rows: int) -> np.ndarray:
        """`rows` rows from each start on, `[n, rows, *shape]`."""
        ...


@runtime_checkable
class FlatColumn(Protocol):
    """A column whose episodes can be read together, since all rows are kept in one sequence."""

    def read_flat(self, begin: int, end: int) -> np.ndarray:
        """Rows `begin` to `end - 1` of the whole sequence."""
        ...


def windows_one_by_one(
    reader: ColumnReader, episodes: Int[np.ndarray, " n"], starts: Int[np.ndarray, " n"], rows: int
) -> np.ndarray:
    """The windows of a reader that has no faster way."""
    found = [reader.read(e, s, s + rows) for e, s in zip(episodes.tolist(), starts.tolist(), strict=True)]
    return np.stack(found)


@dataclass(frozen=True)
class FlatReader:
    """A column of all rows, one episode after the other."""

    array: PerProcess[Any]
    """A NumPy array, or one that is read by ranges of rows, such as HDF5's."""
    offsets: Int[np.ndarray, " episodes"]
    column: Column

    def read(self, episode: int, start: int, stop: int) -> np.ndarray:
        """The rows."""
        begin = int(self.offsets[episode])
        return self.read_flat(begin + start, begin + stop)

    def read_flat(self, begin: int, end: int) -> np.ndarray:
        """The rows of the whole sequence."""
        found = np.asarray(self.array.get()[begin:end])
        return found.reshape(len(found), *self.column.shape).astype(self.column.dtype, copy=False)

    def read_windows(self, episodes: Int[np.ndarray, " n"], starts: Int[np.ndarray, " n"], rows: int) -> np.ndarray:
        """The windows, gathered at once from an array in memory or a mapped one."""
        array = self.array.get()
        if not isinstance(array, np.ndarray):
            return windows_one_by_one(self, episodes, starts, rows)
        begins = self.offsets[episodes] + starts
        found = array[begins[:, None] + np.arange(rows)]
        return found.reshape(len(begins), rows, *self.column.shape).astype(self.column.dtype, copy=False)


@dataclass(frozen=True)
class PaddedReader:
    """A transition column of a format that stores one value less than rows in some episodes; their last row is filled."""

    inner: ColumnReader
    lengths: Int[np.ndarray, " episodes"]
    open_ended: Bool[np.ndarray, " episodes"]
    column: Column

    def read(self, episode: int, start: int, stop: int) -> np.ndarray:
        """The rows; the last one of an open-ended episode is NaN, or 0."""
        if not self.open_ended[episode] or stop < self.lengths[episode] or start == stop:
            return self.inner.read(episode, start, stop)
        known = self.inner.read(episode, start, stop - 1)
        return np.concatenate([known, filler(self.column)])

    def read_windows(self, episodes: Int[np.ndarray, " n"], starts: Int[np.ndarray, " n"], rows: int) -> np.ndarray:
        """The windows; those that do not reach an open end are read as the inner reader can."""
        touched = self.open_ended[episodes] & (starts + rows >= self.lengths[episodes])
        if not touched.any():
            return self.inner.read_windows(episodes, starts, rows)
        return windows_one_by_one(self, episodes, starts, rows)


def filler(column: Column) -> np.ndarray:
    """The value of a transition column that was not recorded: one row of NaN, or of 0."""
    return np.full((1, *column.shape), np.nan if np.dtype(column.dtype).kind == "f" else 0, column.dtype)
