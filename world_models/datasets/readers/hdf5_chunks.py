"""Fast reading of HDF5 arrays that are stored as they are, in chunks of whole rows.

stable-worldmodel writes one row per chunk, and HDF5 looks each of them up. Once a process has read so much that it pays, the
places of all chunks are listed (about 1.6 microseconds each), and rows are copied from the mapped file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

READS_PER_CHUNK = 50
"""Chunks that can be listed in the time of one read."""


class ChunkedArray:
    """An HDF5 array that is read by ranges of rows."""

    def __init__(self, array: Any, path: Path) -> None:
        self._array, self._path = array, path
        self.dtype, self.shape = array.dtype, array.shape
        self._chunks = -(-array.shape[0] // array.chunks[0]) if _plain(array) else 0
        self._reads = 0
        self._mapped: MappedRows | None = None

    def __getitem__(self, rows: slice) -> np.ndarray:
        """The rows of a range with a beginning and an end."""
        if self._mapped is not None:
            return self._mapped.rows(rows.start, rows.stop)
        if self._chunks:
            self._reads += 1
            if self._reads * READS_PER_CHUNK > self._chunks:
                self._mapped = mapped_rows(self._array, self._path, self._chunks)
                self._chunks = 0  # where some chunk has no place, it is not tried again
        return self._array[rows]


class MappedRows:
    """Rows of an array whose chunks have known places in a mapped file."""

    def __init__(self, path: Path, places: np.ndarray, chunk_rows: int, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self._bytes = np.memmap(path, np.uint8, "r")
        self._places, self._chunk_rows, self._dtype, self._shape = places, chunk_rows, dtype, shape
        self._row_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize

    def rows(self, begin: int, end: int) -> np.ndarray:
        """Rows `begin` to `end - 1`, copied."""
        size, per = self._row_bytes, self._chunk_rows
        found = np.empty((end - begin) * size, np.uint8)
        first, last = begin // per, -(-end // per)
        starts = self._places[first:last]
        if len(starts) and starts[-1] - starts[0] == (len(starts) - 1) * per * size and (np.diff(starts) == per * size).all():
            at = int(starts[0]) + (begin - first * per) * size
            found[:] = self._bytes[at : at + len(found)]
        else:
            for chunk, start in enumerate(starts.tolist(), first):
                low, high = max(begin, chunk * per), min(end, (chunk + 1) * per)
                at = start + (low - chunk * per) * size
                found[(low - begin) * size : (high - begin) * size] = self._bytes[at : at + (high - low) * size]
        return found.view(self._dtype).reshape(end - begin, *self._shape)


def mapped_rows(array: Any, path: Path, chunks: int) -> MappedRows | None:
    """The rows of an array by the places of its chunks; None if a chunk has none, since it was never written."""
    places, rows = np.full(chunks, -1, np.int64), int(array.chunks[0])
    found: list[tuple[int, int]] = []
    array.id.chunk_iter(lambda chunk: found.append((chunk.chunk_offset[0], chunk.byte_offset)))
    numbers = np.array(found, np.int64).reshape(-1, 2)
    places[numbers[:, 0] // rows] = numbers[:, 1]
    return None if (places < 0).any() else MappedRows(path, places, rows, array.dtype, array.shape[1:])


def _plain(array: Any) -> bool:
    """Whether chunks hold whole rows as they are, without filters."""
    made = array.id.get_create_plist()
    whole_rows = array.chunks is not None and array.chunks[1:] == array.shape[1:]
    return whole_rows and made.get_nfilters() == 0 and array.file.userblock_size == 0 and array.dtype.kind in "iuf"
