"""Our own form: a folder of Arrow files, mapped into memory, in which a window of rows is a copy of a few bytes.

`dataset.json` describes the columns and lists the parts. Part n is `rows-NNNNN.arrow`, an Arrow IPC file whose record batches
have the same number of rows but for the last, with a fixed-size list of numbers per column; `episodes-NNNNN.arrow` has the
length and digest of each episode in it. Truth values are bytes. A part holds whole episodes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from jaxtyping import Int
from pyarrow import ipc

from world_models.datasets.base import Column, DatasetError, Role
from world_models.datasets.columns import PerProcess, windows_one_by_one
from world_models.datasets.digests import FileDigest
from world_models.datasets.index import index_of_lengths
from world_models.datasets.places import Place
from world_models.datasets.recording import Recording
from world_models.datasets.refusals import READ_ERRORS, reading
from world_models.files.reading import parse_json

MANIFEST = "dataset.json"
"""File that makes a folder a dataset; it is written last."""
UNFINISHED = "unfinished.json"
"""File of a folder that is still being written."""
VERSION = 1
HELD_BATCHES = 4096
"""Mapped record batches that are kept per process; a batch of an object store is copied, and fewer of those are kept."""
HELD_REMOTE = 64
ATTEMPTS = 4
"""How often a read from an object store is tried."""


@dataclass(frozen=True)
class ColumnInfo:
    """A column, as `dataset.json` describes it."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: str = "other"
    unit: str = ""
    features: tuple[str, ...] = ()
    transition: bool = False


@dataclass(frozen=True)
class PartInfo:
    """A part, as `dataset.json` lists it."""

    rows: int
    episodes: int
    batch_rows: int
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """The content of `dataset.json`."""

    version: int
    columns: tuple[ColumnInfo, ...]
    parts: tuple[PartInfo, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def rows_file(part: int) -> str:
    """Name of the rows of a part."""
    return f"rows-{part:05d}.arrow"


def episodes_file(part: int) -> str:
    """Name of the episodes of a part."""
    return f"episodes-{part:05d}.arrow"


def recognise(place: Place) -> bool:
    """Whether a folder holds this form, finished or not."""
    return place.size(MANIFEST) is not None or place.size(UNFINISHED) is not None


def open_arrow(place: Place) -> Recording:
    """Open a folder that `ArrowWriter` has finished. Raises DatasetError for any other, and for a part of another size."""
    if place.size(MANIFEST) is None:
        raise DatasetError(f"{place.text} is not finished: run the command that writes it again, and it goes on.")
    manifest = read_manifest(place, MANIFEST)
    lengths, open_ended = _episodes(place, manifest)
    for part, info in enumerate(manifest.parts):
        found = place.size(rows_file(part))
        if found != info.bytes:
            words = "is missing" if found is None else f"has {found} bytes in place of {info.bytes}"
            raise DatasetError(f"{place.named(rows_file(part))} {words}: copy the dataset again.")
    columns = {info.name: column_from(info) for info in manifest.columns}
    index = index_of_lengths(lengths, place.text, open_ended=open_ended)
    batches: PerProcess[Batches] = PerProcess(partial(MappedBatches, place, manifest))
    readers = {name: BatchReader(batches, index.offsets, k, column) for k, (name, column) in enumerate(columns.items())}
    return Recording("arrow", place.text, index, columns, readers, FileDigest(place), manifest.facts, manifest.notes)


def read_manifest(place: Place, name: str) -> Manifest:
    """The description of a dataset, finished or not. Raises DatasetError for one that is damaged or of a later version."""
    with reading(place.named(name)):
        found = parse_json(place.read(name), Manifest, "a description of a dataset", "copy it again", place.named(name))
    if found.version != VERSION:
        raise DatasetError(
            f"{place.named(name)} has version {found.version} and not {VERSION}: use a newer grasp-orchestrator."
        )
    return found


def column_from(info: ColumnInfo) -> Column:
    """The column that an entry of `dataset.json` describes."""
    known = {role.value: role for role in Role}
    role = known.get(info.role, Role.OTHER)
    return Column(info.name, info.shape, np.dtype(info.dtype).name, role, info.unit, info.features, info.transition)


def info_of(column: Column) -> ColumnInfo:
    """The entry of `dataset.json` for a column."""
    return ColumnInfo(
        column.name, column.shape, column.dtype, column.role.value, column.unit, column.features, column.transition
    )


def read_episodes(place: Place, part: int) -> pa.Table:
    """The table of a part's episodes: `length`, `open_ended`, `digest`."""
    name = episodes_file(part)
    with reading(place.named(name)), place.open(name) as stream:
        return ipc.open_file(stream).read_all()


def _episodes(place: Place, manifest: Manifest) -> tuple[Int[np.ndarray, " episodes"], np.ndarray]:
    lengths, ended = [np.zeros(0, np.int64)], [np.zeros(0, bool)]
    for part, info in enumerate(manifest.parts):
        table = read_episodes(place, part)
        with reading(place.named(episodes_file(part))):
            lengths.append(table.column("length").to_numpy().astype(np.int64))
            ended.append(table.column("open_ended").to_numpy().astype(bool))
        if len(table) != info.episodes or lengths[-1].sum() != info.rows:
            raise DatasetError(
                f"{place.named(episodes_file(part))} has {len(table)} episodes of {lengths[-1].sum()} rows, and "
                f"{info.episodes} of {info.rows} are expected: copy the dataset again."
            )
    return np.concatenate(lengths), np.concatenate(ended)


@runtime_checkable
class Batches(Protocol):
    """Rows in batches, such as record batches or row groups."""

    firsts: np.ndarray
    """First row of each batch, and the number of all rows."""

    def arrays(self, batch: int) -> list[Any]:
        """The columns of a batch, `[rows, *shape]`."""
        ...


class MappedBatches:
    """The record batches of all parts, opened when they are first read."""

    def __init__(self, place: Place, manifest: Manifest) -> None:
        self._place = place
        self._columns = manifest.columns
        firsts, homes, first = [], [], 0
        for part, info in enumerate(manifest.parts):
            begins = np.arange(0, info.rows, info.batch_rows)
            firsts.append(first + begins)
            homes += [(part, batch) for batch in range(len(begins))]
            first += info.rows
        self.firsts = np.append(np.concatenate(firsts) if firsts else np.zeros(0, np.int64), first)
        """First row of each batch, and the number of all rows."""
        self._homes = homes
        self._files: dict[int, Any] = {}
        self._held: OrderedDict[int, list[np.ndarray]] = OrderedDict()
        self._most = HELD_BATCHES if place.local is not None else HELD_REMOTE

    def arrays(self, batch: int) -> list[np.ndarray]:
        """The columns of a batch, `[rows, *shape]`."""
        held = self._held.get(batch)
        if held is None:
            held = self._held[batch] = self._load(batch)
            while len(self._held) > self._most:
                self._held.popitem(last=False)
        return held

    def _load(self, batch: int) -> list[np.ndarray]:
        part, number = self._homes[batch]
        with reading(f"{self._place.named(rows_file(part))}, record batch {number}"):
            rows = int(self.firsts[batch + 1] - self.firsts[batch])
            found = self._batch(part, number)
            if found.num_rows != rows:
                raise ValueError(f"it has {found.num_rows} rows in place of {rows}")
            return [_values(found.column(info.name), rows, info) for info in self._columns]

    def _batch(self, part: int, number: int) -> pa.RecordBatch:
        for attempt in range(ATTEMPTS):
            try:
                if part not in self._files:
                    self._files[part] = ipc.open_file(self._place.mapped(rows_file(part)))
                return self._files[part].get_batch(number)
            except READ_ERRORS:
                self._files.pop(part, None)
                if self._place.local is not None or attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError


def _values(array: pa.Array, rows: int, info: ColumnInfo) -> np.ndarray:
    flat = array.flatten() if isinstance(array, pa.FixedSizeListArray) else array
    return flat.to_numpy(zero_copy_only=True).view(info.dtype).reshape(rows, *info.shape)


@dataclass(frozen=True)
class BatchReader:
    """A column of rows in batches."""

    batches: PerProcess[Batches]
    offsets: Int[np.ndarray, " episodes"]
    number: int
    """Place of the column in each batch."""
    column: Column

    def read(self, episode: int, start: int, stop: int) -> np.ndarray:
        """The rows, copied."""
        begin = int(self.offsets[episode])
        return self._rows(self.batches.get(), begin + start, begin + stop)

    def read_flat(self, begin: int, end: int) -> np.ndarray:
        """The rows of the whole sequence, copied."""
        return self._rows(self.batches.get(), begin, end)

    def read_windows(self, episodes: Int[np.ndarray, " n"], starts: Int[np.ndarray, " n"], rows: int) -> np.ndarray:
        """The windows: of each, its rows are copied from the batch in which they are."""
        held = self.batches.get()
        if rows == 0:
            return windows_one_by_one(self, episodes, starts, rows)
        begins = self.offsets[episodes] + starts
        homes = np.searchsorted(held.firsts, begins, side="right") - 1
        inside = begins + rows <= held.firsts[homes + 1]
        locals_ = (begins - held.firsts[homes]).tolist()
        found = np.empty((len(begins), rows, *self.column.shape), self.column.dtype)
        for k, (home, whole) in enumerate(zip(homes.tolist(), inside.tolist(), strict=True)):
            if whole:
                found[k] = held.arrays(home)[self.number][locals_[k] : locals_[k] + rows]
            else:
                found[k] = self._rows(held, int(begins[k]), int(begins[k]) + rows)
        return found

    def _rows(self, held: Batches, begin: int, end: int) -> np.ndarray:
        found = np.empty((end - begin, *self.column.shape), self.column.dtype)
        at = begin
        while at < end:
            home = int(np.searchsorted(held.firsts, at, side="right")) - 1
            first, last = int(held.firsts[home]), min(int(held.firsts[home + 1]), end)
            found[at - begin : last - begin] = held.arrays(home)[self.number][at - first : last - first]
            at = last
        return found
