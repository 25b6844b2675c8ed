"""Writing of our own form (`readers.arrow`): part by part, so that what was interrupted goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from world_models.datasets.base import Column, DatasetError
from world_models.datasets.digests import EpisodeDigest
from world_models.datasets.places import Place
from world_models.datasets.readers.arrow import (
    MANIFEST,
    UNFINISHED,
    VERSION,
    Manifest,
    PartInfo,
    episodes_file,
    info_of,
    read_episodes,
    read_manifest,
    rows_file,
)
from world_models.datasets.recording import column_of_array
from world_models.files.names import inside
from world_models.files.reading import to_json
from world_models.files.writing import whole_file, write_error, write_file

BATCH_BYTES = 4 * 2**20
"""Bytes of a record batch: what is read at once from an object store."""
PART_BYTES = 256 * 2**20
"""Bytes of a part, which ends with the episode that exceeds them."""


class ArrowWriter:
    """Writes episodes into a folder: `begin`, `append` rows as often as needed, `end`; then `finish`.

    A part that is complete stays. A writer of the same `source` in the same folder goes on behind it: the first episode to be
    written is number `episodes`. Raises DatasetError for a folder that holds something else.
    """

    def __init__(
        self,
        folder: Path,
        columns: Iterable[Column],
        facts: Mapping[str, Any] | None = None,
        notes: tuple[str, ...] = (),
        source: str = "",
        part_bytes: int = PART_BYTES,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        self._folder, self._part_bytes = folder, part_bytes
        self._columns = {column.name: column for column in columns}
        row_bytes = sum(column.row_bytes for column in self._columns.values())
        self._batch_rows = int(min(max(batch_bytes // max(row_bytes, 1), 1), 2**20))
        self._schema = pa.schema([(name, _type(column)) for name, column in self._columns.items()])
        infos = tuple(info_of(column) for column in self._columns.values())
        self._manifest = Manifest(VERSION, infos, (), {**(facts or {}), "source": source}, notes)
        self.digests: list[str] = []
        """Digests of the episodes that are written."""
        self._parts: list[PartInfo] = []
        self._resume()
        self._part: _Part | None = None

    @property
    def episodes(self) -> int:
        """Number of episodes written, in earlier runs too."""
        return len(self.digests)

    def begin(self) -> None:
        """Begin an episode."""
        if self._part is None:
            self._part = _Part(self._folder, len(self._parts), self._schema, self._batch_rows)
        self._digest, self._rows = EpisodeDigest(self._columns), 0

    def append(self, rows: Mapping[str, np.ndarray]) -> None:
        """Append rows to the episode, of every column."""
        assert self._part is not None
        count = _checked(rows, self._columns, self.episodes)
        self._digest.update(rows)
        self._part.append(rows, count)
        self._rows += count

    def end(self, open_ended: bool = False) -> None:
        """End the episode; `open_ended`: its last row lacks the action."""
        assert self._part is not None
        self._part.lengths.append(self._rows)
        self._part.open_ended.append(open_ended)
        self.digests.append(self._digest.hexdigest())
        self._part.digests.append(self.digests[-1])
        if self._part.bytes >= self._part_bytes:
            self._close_part()

    def finish(self) -> None:
        """Complete the folder, which can be opened then."""
        if self._part is not None:
            self._close_part()
        write_file(inside(self._folder, MANIFEST), to_json(replace(self._manifest, parts=tuple(self._parts))), durable=True)
        inside(self._folder, UNFINISHED).unlink(missing_ok=True)

    def discard(self) -> None:
        """Close what is open after an error; complete parts stay."""
        if self._part is not None:
            self._part.abandon()
            self._part = None

    def _close_part(self) -> None:
        assert self._part is not None
        self._parts.append(self._part.close())
        self._part = None

    def _resume(self) -> None:
        place = Place(str(self._folder))
        if inside(self._folder, MANIFEST).exists():
            raise DatasetError(f"{self._folder} holds a dataset already: give another folder, or remove that one.")
        if not inside(self._folder, UNFINISHED).exists():
            if self._folder.exists() and any(self._folder.iterdir()):
                raise DatasetError(f"{self._folder} holds other files: give a folder that is empty or does not exist.")
            write_file(inside(self._folder, UNFINISHED), to_json(self._manifest))
            return
        before = read_manifest(place, UNFINISHED)
        if (before.columns, before.facts.get("source")) != (self._manifest.columns, self._manifest.facts["source"]):
            raise DatasetError(f"{self._folder} was begun from another dataset: give another folder, or remove that one.")
        while (size := place.size(rows_file(len(self._parts)))) and place.size(episodes_file(len(self._parts))):
            table = read_episodes(place, len(self._parts))
            held = (table.schema.metadata or {}).get(b"grasp", b"{}")
            info = PartInfo(**{name: int(value) for name, value in json.loads(held).items()})
            if info.bytes != size:
                break
            self._parts.append(info)
            self.digests += table.column("digest").to_pylist()


def write_arrow(
    folder: Path,
    episodes: Iterable[Mapping[str, np.ndarray]],
    columns: Iterable[Column] | None = None,
    open_ended: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write episodes, each an array `[rows, *shape]` per column, into a folder that does not exist yet or is empty.

    Without `columns`, they are those of the first episode. Raises DatasetError for episodes that do not fit each other, and
    WriteError.
    """
    writer: ArrowWriter | None = None
    described = None if columns is None else list(columns)
    for episode in episodes:
        if writer is None:
            described = described or [column_of_array(name, np.asarray(values)) for name, values in episode.items()]
            writer = ArrowWriter(folder, described, facts)
        writer.begin()
        writer.append(episode)
        writer.end(open_ended)
    (writer or ArrowWriter(folder, described or [], facts)).finish()


class _Part:
    """A part that is being written."""

    def __init__(self, folder: Path, number: int, schema: pa.Schema, batch_rows: int) -> None:
        self._folder, self._number, self._schema, self._batch_rows = folder, number, schema, batch_rows
        self._file = inside(folder, rows_file(number))
        self._context = whole_file(self._file, durable=True)
        self._temporary = self._context.__enter__()
        self._sink = pa.OSFile(str(self._temporary), "wb")
        self._writer = ipc.new_file(self._sink, schema)
        self._waiting: list[Mapping[str, np.ndarray]] = []
        self._waiting_rows = self._rows = self.bytes = 0
        self.lengths: list[int] = []
        self.open_ended: list[bool] = []
        self.digests: list[str] = []

    def append(self, rows: Mapping[str, np.ndarray], count: int) -> None:
        """Take `count` rows, which are written when there are enough for a batch."""
        self._waiting.append({name: np.array(values) for name, values in rows.items()})
        self._waiting_rows += count
        self.bytes += sum(values.nbytes for values in rows.values())
        self._rows += count
        if self._waiting_rows >= self._batch_rows:
            self._write(self._waiting_rows // self._batch_rows)

    def close(self) -> PartInfo:
        """Write the rest and the part's index, and return what the part holds."""
        if self._waiting_rows:
            self._write(-(-self._waiting_rows // self._batch_rows))
        self._writer.close()
        size = self._sink.tell()
        self._sink.close()
        self._context.__exit__(None, None, None)
        info = PartInfo(self._rows, len(self.lengths), self._batch_rows, size)
        columns = {
            "length": pa.array(self.lengths, pa.int64()),
            "open_ended": pa.array(self.open_ended, pa.bool_()),
            "digest": pa.array(self.digests, pa.string()),
        }
        table = pa.table(columns).replace_schema_metadata({"grasp": json.dumps(asdict(info))})
        with (
            whole_file(inside(self._folder, episodes_file(self._number)), durable=True) as temporary,
            pa.OSFile(str(temporary), "wb") as sink,
            ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)
        return info

    def abandon(self) -> None:
        self._sink.close()
        self._temporary.unlink(missing_ok=True)

    def _write(self, batches: int) -> None:
        joined = {name: np.concatenate([rows[name] for rows in self._waiting]) for name in self._schema.names}
        for batch in range(batches):
            rows = slice(batch * self._batch_rows, (batch + 1) * self._batch_rows)
            arrays = [_array(joined[name][rows], self._schema.field(name).type) for name in self._schema.names]
            try:
                self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
            except OSError as error:
                raise write_error(self._file, error) from error
        done = batches * self._batch_rows
        self._waiting = [{name: values[done:] for name, values in joined.items()}] if done < self._waiting_rows else []
        self._waiting_rows = max(self._waiting_rows - done, 0)


def _checked(rows: Mapping[str, np.ndarray], columns: Mapping[str, Column], episode: int) -> int:
    counts = {len(values) for values in rows.values()}
    if rows.keys() != columns.keys() or len(counts) != 1:
        raise DatasetError(
            f"episode {episode} has the columns {sorted(rows)} of {sorted(counts)} rows, and {sorted(columns)} of one number "
            "of rows are expected."
        )
    for name, values in rows.items():
        column = columns[name]
        if values.shape[1:] != column.shape or values.dtype != column.dtype:
            raise DatasetError(
                f"episode {episode}: column {name!r} is {values.dtype} {values.shape[1:]}, and "
                f"{column.dtype} {column.shape} is expected."
            )
    return counts.pop()


def _type(column: Column) -> pa.DataType:
    kind = np.dtype(column.dtype)
    element = pa.uint8() if kind == np.bool_ else pa.from_numpy_dtype(kind)
    size = int(np.prod(column.shape, dtype=np.int64))
    return element if column.shape == () else pa.list_(element, size)


def _array(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    flat = np.ascontiguousarray(values).reshape(-1)
    array = pa.array(flat.view(np.uint8) if flat.dtype == np.bool_ else flat)
    return array if not pa.types.is_fixed_size_list(kind) else pa.FixedSizeListArray.from_arrays(array, kind.list_size)
