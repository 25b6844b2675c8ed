"""The dataset that every reader of ours returns: an index of episodes, and a reader for each column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from world_models.datasets.base import Column, DatasetError, column_of, named_columns
from world_models.datasets.columns import ColumnReader, FlatReader, PerProcess
from world_models.datasets.digests import full_digest
from world_models.datasets.index import EpisodeIndex, check_rows, index_of_lengths
from world_models.datasets.refusals import READ_ERRORS, damaged


@dataclass(frozen=True)
class Recording:
    """A dataset (`Episodes`) that is put together of columns."""

    kind: str
    path: str
    index: EpisodeIndex
    columns: Mapping[str, Column]
    readers: Mapping[str, ColumnReader]
    fast_digest: Callable[[], str]
    """Computes the digest of the files."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reset_seeds: tuple[int | None, ...] = ()
    """Seeds of the resets with which episodes began (`SeededEpisodes`)."""

    @property
    def lengths(self) -> Int[np.ndarray, " episodes"]:
        """Number of rows of each episode."""
        return self.index.lengths

    @property
    def open_ended(self) -> Bool[np.ndarray, " episodes"]:
        """Whether each episode's last row lacks the action."""
        return self.index.open_ended

    def episode(self, episode: int, columns: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """All rows of an episode."""
        if not 0 <= episode < len(self.lengths):
            raise self._no_rows(episode, 0, 0)
        return self.rows(episode, 0, int(self.lengths[episode]), columns)

    def rows(self, episode: int, start: int, stop: int, columns: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Rows `start` to `stop - 1` of an episode."""
        if not (0 <= episode < len(self.lengths) and 0 <= start <= stop <= self.lengths[episode]):
            raise self._no_rows(episode, start, stop)
        found = {}
        for name in named_columns(self, columns):
            try:
                values = self.readers[name].read(episode, start, stop)
            except READ_ERRORS as error:
                raise damaged(f"{self.path}, episode {episode}, rows {start} to {stop - 1}, column {name!r}", error) from error
            self._check(name, values, (stop - start,), episode)
            found[name] = values
        return found

    def windows(
        self,
        episodes: Int[np.ndarray, " n"],
        starts: Int[np.ndarray, " n"],
        rows: int,
        columns: Sequence[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """`rows` rows from each start on."""
        self._check_windows(episodes, starts, rows)
        found = {}
        for name in named_columns(self, columns):
            column = self.columns[name]
            if not len(episodes):
                found[name] = np.zeros((0, rows, *column.shape), column.dtype)
                continue
            try:
                values = self.readers[name].read_windows(episodes, starts, rows)
            except READ_ERRORS as error:
                raise damaged(f"{self.path}, episodes {episodes[:3].tolist()} ..., column {name!r}", error) from error
            self._check(name, values, (len(episodes), rows), int(episodes[0]))
            found[name] = values
        return found

    def digest(self, full: bool = False) -> str:
        """Content digest: of the files, or of every value."""
        return full_digest(self) if full else self.fast_digest()

    def _check_windows(self, episodes: Int[np.ndarray, " n"], starts: Int[np.ndarray, " n"], rows: int) -> None:
        if len(episodes):
            beyond = (episodes < 0) | (episodes >= len(self.lengths)) | (starts < 0)
            lengths = self.lengths[np.where(beyond, 0, episodes)] if len(self.lengths) else np.zeros_like(episodes)
            bad = np.nonzero(beyond | (starts + rows > lengths) | (rows < 0))[0]
            if len(bad):
                raise self._no_rows(int(episodes[bad[0]]), int(starts[bad[0]]), int(starts[bad[0]]) + rows)

    def _check(self, name: str, values: np.ndarray, rows: tuple[int, ...], episode: int) -> None:
        column = self.columns[name]
        if values.shape != (*rows, *column.shape) or values.dtype != column.dtype:
            raise DatasetError(
                f"{self.path}, episode {episode}: column {name!r} is {values.dtype} {values.shape}, and {column.dtype} "
                f"{(*rows, *column.shape)} is expected: copy the dataset again."
            )

    def _no_rows(self, episode: int, start: int, stop: int) -> DatasetError:
        count = len(self.lengths)
        if not 0 <= episode < count:
            return DatasetError(f"{self.path} has no episode {episode}: it has {count}, numbered from 0.")
        return DatasetError(
            f"{self.path}: episode {episode} has {self.lengths[episode]} rows, and rows {start} to {stop - 1} were asked for."
        )


def from_arrays(
    columns: Mapping[str, np.ndarray],
    lengths: Sequence[int] | Int[np.ndarray, " episodes"],
    open_ended: bool | Bool[np.ndarray, " episodes"] = False,
    about: Mapping[str, Column] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Recording:
    """A dataset in memory: arrays `[rows, *shape]` of all episodes, one after the other.

    `about` describes columns whose role or unit their names do not tell. Raises DatasetError for arrays that do not fit.
    """
    index = index_of_lengths(np.asarray(lengths, np.int64), "the dataset in memory", open_ended=open_ended)
    described = {name: (about or {}).get(name) or column_of_array(name, array) for name, array in columns.items()}
    for name, array in columns.items():
        check_rows(index, len(array), name, "the dataset in memory")
    readers = {name: FlatReader(PerProcess(_Held(array)), index.offsets, described[name]) for name, array in columns.items()}
    unread = Recording("memory", "the dataset in memory", index, described, readers, str, facts or {})
    return Recording("memory", unread.path, index, described, readers, _FullDigest(unread), facts or {})


def column_of_array(name: str, array: np.ndarray) -> Column:
    """The column of an array `[rows, *shape]`; raises DatasetError for one that does not hold numbers."""
    if array.dtype.kind not in "biuf" or array.ndim < 1:
        raise DatasetError(f"column {name!r} is {array.dtype} {array.shape}: numbers or truth values per row are expected.")
    return column_of(name, array.shape[1:], array.dtype)


@dataclass(frozen=True)
class _Held:
    """Opens an array that is in memory; unlike a lambda, it can be pickled."""

    array: np.ndarray

    def __call__(self) -> np.ndarray:
        return self.array


@dataclass(frozen=True)
class _FullDigest:
    data: Recording

    def __call__(self) -> str:
        return full_digest(self.data)
