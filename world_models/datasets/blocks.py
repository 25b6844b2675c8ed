"""A pass over all rows of a dataset, in blocks of many short episodes or of a part of a long one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from world_models.datasets.base import Episodes
from world_models.datasets.columns import FlatColumn
from world_models.datasets.recording import Recording
from world_models.datasets.refusals import READ_ERRORS, damaged

BLOCK_BYTES = 8 * 2**20
"""Bytes of a block's values."""


@dataclass(frozen=True)
class Block:
    """Rows that follow each other."""

    episodes: Int[np.ndarray, " rows"]
    """Episode of each row."""
    rows: Int[np.ndarray, " rows"]
    """Number of each row within its episode."""
    values: dict[str, np.ndarray]
    """The columns, `[rows, *shape]`."""


def blocks(data: Episodes, columns: Sequence[str], most_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """All rows of some columns, in order. Raises DatasetError for rows that cannot be read."""
    most = max(1, most_bytes // max(1, sum(data.columns[name].row_bytes for name in columns)))
    lengths = data.lengths
    ends = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        begun = ends[first] - lengths[first]
        last = max(int(np.searchsorted(ends, begun + most, side="right")), first + 1)
        if last == first + 1:
            yield from _parts(data, first, columns, most)
        else:
            numbers = np.arange(first, last)
            rows = np.arange(int(ends[last - 1] - begun)) - np.repeat(
                ends[numbers] - lengths[numbers] - begun, lengths[numbers]
            )
            yield Block(np.repeat(numbers, lengths[numbers]), rows, _together(data, first, last, columns))
        first = last


def _parts(data: Episodes, episode: int, columns: Sequence[str], most: int) -> Iterator[Block]:
    length = int(data.lengths[episode])
    for start in range(0, length, most):
        stop = min(start + most, length)
        yield Block(np.full(stop - start, episode), np.arange(start, stop), data.rows(episode, start, stop, columns))


def _together(data: Episodes, first: int, last: int, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Whole episodes, read at once where they are stored one after the other."""
    if isinstance(data, Recording):
        begins, readers = data.index.offsets[first:last], [data.readers[name] for name in columns]
        stops = begins + data.lengths[first:last]
        if (begins[1:] == stops[:-1]).all() and all(isinstance(reader, FlatColumn) for reader in readers):
            try:
                flat = [r.read_flat(int(begins[0]), int(stops[-1])) for r in readers if isinstance(r, FlatColumn)]
            except READ_ERRORS as error:
                raise damaged(f"{data.path}, episodes {first} to {last - 1}", error) from error
            return dict(zip(columns, flat, strict=True))
    parts = [data.episode(episode, columns) for episode in range(first, last)]
    return {name: np.concatenate([part[name] for part in parts]) for name in columns}
