"""Parquet files with one row per step, which are read by row group; those read last are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from world_models.datasets.base import Column, DatasetError, column_of
from world_models.datasets.columns import ColumnReader, PerProcess
from world_models.datasets.index import EpisodeIndex
from world_models.datasets.pictures import EncodedReader, is_picture, picture_shape
from world_models.datasets.places import Place
from world_models.datasets.readers.arrow import Batches, BatchReader
from world_models.datasets.refusals import reading

HELD_BYTES = 256 * 2**20
"""Bytes of row groups that are kept per process."""


@dataclass(frozen=True)
class RowGroup:
    """A row group, or a whole file."""

    file: str
    """Name below the place."""
    group: int | None
    """None for all row groups of the file."""
    rows: int


def row_groups(place: Place, files: Sequence[str]) -> tuple[tuple[RowGroup, ...], pa.Schema]:
    """The row groups of files in order, and the schema of the first. Raises DatasetError for a file that is damaged."""
    found, schema = [], None
    for name in files:
        with reading(place.named(name)), place.open(name) as source:
            file = pq.ParquetFile(source)
            found += [RowGroup(name, k, file.metadata.row_group(k).num_rows) for k in range(file.num_row_groups)]
            schema = schema or file.schema_arrow
    if schema is None:
        raise DatasetError(f"{place.text} holds no Parquet files: give the folder that does.")
    return tuple(found), schema


class ParquetBatches:
    """The row groups of all files, unpacked when they are first read."""

    def __init__(self, place: Place, groups: tuple[RowGroup, ...], columns: tuple[tuple[str, Column | None], ...]) -> None:
        self._place, self._groups, self._columns = place, groups, columns
        self.firsts = np.cumsum([0, *(group.rows for group in groups)])
        """First row of each row group, and the number of all rows."""
        self._held: OrderedDict[int, tuple[list[Any], int]] = OrderedDict()
        self._bytes = 0

    def arrays(self, batch: int) -> list[Any]:
        """The columns of a row group: `[rows, *shape]`, or Arrow arrays for those of pictures."""
        held = self._held.get(batch)
        if held is None:
            held = self._held[batch] = self._load(batch)
            self._bytes += held[1]
            while self._bytes > HELD_BYTES and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1][1]
        return held[0]

    def _load(self, batch: int) -> tuple[list[Any], int]:
        group = self._groups[batch]
        names = [name for name, _ in self._columns]
        with reading(self._place.named(group.file)), self._place.open(group.file) as source:
            file = pq.ParquetFile(source)
            table = file.read(names) if group.group is None else file.read_row_group(group.group, names)
            if len(table) != group.rows:
                raise ValueError(f"it has {len(table)} rows in place of {group.rows}")
            found = [array_of(table.column(name), column) for name, column in self._columns]
        return found, sum(int(each.nbytes) for each in found)


def array_of(values: pa.ChunkedArray, column: Column | None) -> Any:
    """A column of a table as an array `[rows, *shape]`; as an Arrow array without a description."""
    array = values.combine_chunks()
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if column is None:
        return array
    rows = len(array)
    flat = array
    while pa.types.is_list(flat.type) or pa.types.is_large_list(flat.type) or pa.types.is_fixed_size_list(flat.type):
        flat = flat.flatten()
    if array.null_count or flat.null_count:
        bad = next((k for k, value in enumerate(array) if not value.is_valid), 0)
        raise ValueError(f"row {bad} of column {column.name!r} is empty")
    found = flat.to_numpy(zero_copy_only=False)
    if found.size != rows * int(np.prod(column.shape, dtype=np.int64)):
        raise ValueError(f"rows of column {column.name!r} have different numbers of values")
    return found.reshape(rows, *column.shape).astype(column.dtype, copy=False)


def parquet_columns(
    place: Place, groups: tuple[RowGroup, ...], schema: pa.Schema, index: EpisodeIndex, shapes: dict[str, tuple[int, ...]]
) -> tuple[dict[str, Column], dict[str, ColumnReader], list[str]]:
    """The columns of Parquet files, and notes on those that are left out. `shapes` are those that the format declares."""
    first = ParquetBatches(place, groups[:1], tuple((name, None) for name in schema.names)).arrays(0) if groups else []
    described: list[tuple[str, Column | None]] = []
    columns, notes = {}, []
    for name, array in zip(schema.names, first, strict=False):
        column, note = _column(name, array, shapes.get(name), place.text)
        if column is None:
            notes.append(note)
            continue
        columns[name] = column
        described.append((name, None if note == "picture" else column))
    batches: PerProcess[Batches] = PerProcess(_Opener(place, groups, tuple(described)))
    readers: dict[str, ColumnReader] = {}
    for number, (name, plain) in enumerate(described):
        if plain is None:
            readers[name] = EncodedReader(PictureCells(batches, index, number), columns[name], place.text)
        else:
            readers[name] = BatchReader(batches, index.offsets, number, plain)
    return columns, readers, notes


def _column(name: str, array: pa.Array, declared: tuple[int, ...] | None, where: str) -> tuple[Column | None, str]:
    kind, shape = array.type, ()
    cell = array[0].as_py() if len(array) else None
    if pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(data, bytes) or not is_picture(data):
            return None, f"Column {name!r} is {kind} and is left out: it holds no pictures."
        return column_of(name, picture_shape(data, f"{where}, row 0, column {name!r}"), np.uint8), "picture"
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        shape, cell = (*shape, len(cell or [])), (cell or [None])[0]
        kind = kind.value_type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return None, f"Column {name!r} is {array.type} and is left out: only numbers are read."
    size = int(np.prod(shape, dtype=np.int64))
    fits = declared is not None and int(np.prod(declared, dtype=np.int64)) == size and (shape or declared == (1,))
    return column_of(name, declared if fits and declared is not None and shape else shape, kind.to_pandas_dtype()), ""


@dataclass(frozen=True)
class _Opener:
    place: Place
    groups: tuple[RowGroup, ...]
    columns: tuple[tuple[str, Column | None], ...]

    def __call__(self) -> ParquetBatches:
        return ParquetBatches(self.place, self.groups, self.columns)


@dataclass(frozen=True)
class PictureCells:
    """Pictures in Parquet cells, as bytes or as a structure of bytes and a path."""

    batches: PerProcess[Batches]
    index: EpisodeIndex
    number: int

    def __call__(self, episode: int, start: int, stop: int) -> list[bytes | None]:
        """The files of some rows."""
        held, found = self.batches.get(), []
        for row in range(int(self.index.offsets[episode]) + start, int(self.index.offsets[episode]) + stop):
            batch = int(np.searchsorted(held.firsts, row, side="right")) - 1
            cell = held.arrays(batch)[self.number][row - int(held.firsts[batch])].as_py()
            found.append(cell.get("bytes") if isinstance(cell, dict) else cell)
        return found
