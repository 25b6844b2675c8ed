"""Content digests: a fast one of files, and a full one of values, which is the same in every format."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from world_models.datasets.base import Column, Episodes
from world_models.datasets.places import Place

BLOCK = 65_536
"""Bytes of a block that is read for the fast digest."""
BLOCKS = 16
"""Blocks that are read of a file, the first and the last among them."""
FILES = 64
"""Files of which blocks are read; of the others, names and sizes count."""
WHOLE = 64 * 2**20
"""Bytes up to which all files together are read whole."""
READ_BYTES = 16 * 2**20
"""Bytes of all columns that are read at once."""


@dataclass(frozen=True)
class FileDigest:
    """Computes the fast digest of a dataset's files."""

    place: Place
    names: tuple[str, ...] | None = None
    """Files below the place; None for all of them."""

    def __call__(self) -> str:
        """The digest: 16 hex digits."""
        files = sorted(self.place.files())
        if self.names is not None:
            files = [(name, size) for name, size in files if name in self.names]
        content = hashlib.sha256()
        for name, size in files:
            content.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
        whole = sum(size for _, size in files) <= WHOLE
        for name, size in files if whole else _spaced(files, FILES):
            with self.place.open(name) as stream:
                if whole:
                    content.update(stream.read(size))
                    continue
                last = max(size - BLOCK, 0)
                for begin in sorted({round(last * k / (BLOCKS - 1)) for k in range(BLOCKS)}):
                    stream.seek(begin)
                    content.update(stream.read(BLOCK))
        return content.hexdigest()[:16]


def _spaced(files: Sequence[tuple[str, int]], most: int) -> list[tuple[str, int]]:
    if len(files) <= most:
        return list(files)
    return [files[round(k * (len(files) - 1) / (most - 1))] for k in range(most)]


def full_digest(data: Episodes) -> str:
    """The digest of every value of a dataset: 16 hex digits."""
    total = FullDigest(data.columns)
    for episode, open_ended in enumerate(data.open_ended.tolist()):
        total.add(episode_digest(data, episode), bool(open_ended))
    return total.hexdigest()


def episode_digest(data: Episodes, episode: int) -> str:
    """The digest of all values of an episode: 32 hex digits."""
    content = EpisodeDigest(data.columns)
    for start, stop in blocks_of(data, episode):
        content.update(data.rows(episode, start, stop))
    return content.hexdigest()


def blocks_of(data: Episodes, episode: int) -> list[tuple[int, int]]:
    """Ranges of rows that cover an episode, each small enough to be held in memory."""
    length = int(data.lengths[episode])
    step = max(1, READ_BYTES // max(1, sum(column.row_bytes for column in data.columns.values())))
    return [(start, min(start + step, length)) for start in range(0, length, step)]


class EpisodeDigest:
    """The digest of an episode that is read in parts."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self._parts = {name: hashlib.sha256() for name in sorted(columns)}
        self._rows = 0

    def update(self, block: Mapping[str, np.ndarray]) -> None:
        """Add the next rows, of all columns."""
        for name, part in self._parts.items():
            part.update(np.ascontiguousarray(block[name]).data)
        self._rows += len(next(iter(block.values()))) if block else 0

    def hexdigest(self) -> str:
        """The digest: 32 hex digits."""
        content = hashlib.sha256(str(self._rows).encode())
        for part in self._parts.values():
            content.update(part.digest())
        return content.hexdigest()[:32]


class FullDigest:
    """The digest of a dataset from those of its episodes, in order."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        described = [(name, columns[name].dtype, columns[name].shape) for name in sorted(columns)]
        self._content = hashlib.sha256(repr(described).encode("utf-8", "surrogateescape"))

    def add(self, episode: str, open_ended: bool) -> None:
        """Add the next episode's digest."""
        self._content.update(f"{episode} {open_ended:d}\n".encode())

    def hexdigest(self) -> str:
        """The digest: 16 hex digits."""
        return self._content.hexdigest()[:16]
