"""Parts of a ledger: Parquet files named after the appends that they hold, and functions that read them.

`part-NUMBER-DIGEST.parquet` is one append. `part-FIRST-LAST-DIGEST.parquet` was merged from others, whose names it lists: it
replaces them, whether they have been removed yet or not.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Int32, Int64

from orchestrator.ledger.identity import LAST_WITHOUT_VERSIONS, POINT_COLUMNS, renamed, renamed_points
from orchestrator.ledger.records import SCHEMA, SCHEMA_VERSION, VERSION_KEY
from orchestrator.storage.base import Storage, reason_of
from world_models.errors import UserError

ROW_GROUP = 8192
"""Rows in a row group, the least that is read for a single point."""

COVERS_KEY = b"grasp.covers"
"""Key in the file's metadata under which a merged part lists the parts that it replaces."""

_NAME = re.compile(r"part-(\d{8})(?:-(\d{8}))?-([0-9a-f]{8})\.parquet")
_TEXT: dict[str, Any] = {"use_dictionary": [field.name for field in SCHEMA if pa.types.is_string(field.type)]}
"""Only text columns get a dictionary: no two actions are alike."""


class PartGoneError(Exception):
    """A part was removed after the folder was listed, which must be listed again."""


@dataclass(frozen=True)
class Part:
    """A part as described by its name and footer."""

    name: str
    first: int
    """Number of the first append that it holds."""
    last: int
    rows: int
    lowest: str
    """Least point id; empty where it is not known, or where ids are others now."""
    highest: str
    """Greatest point id; empty if unknown."""
    covers: frozenset[str]
    """Names of the parts that it was merged from."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Present point ids by recorded ones, where they differ."""

    def may_hold(self, points: Sequence[str]) -> bool:
        """Whether cells of any of these points (sorted) can be in it."""
        return not self.highest or _touches(points, self.lowest, self.highest)


def name_of(data: bytes, first: int, last: int | None = None) -> str:
    """The name of a part: of an append, or of the appends `first` to `last` merged.

    It holds a digest of the bytes, so that a part that is written again after a doubtful error replaces itself.
    """
    span = f"{first:08d}" if last is None else f"{first:08d}-{last:08d}"
    return f"part-{span}-{hashlib.blake2b(data, digest_size=4).hexdigest()}.parquet"


def encode(table: pa.Table, covers: Iterable[str] = ()) -> bytes:
    """The bytes of a part with these records, in this order."""
    names = sorted(covers)
    if names:
        annotated = {**(SCHEMA.metadata or {}), COVERS_KEY: json.dumps(names).encode()}
        table = table.replace_schema_metadata(annotated)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", row_group_size=ROW_GROUP, write_page_checksum=True, **_TEXT)
    return buffer.getvalue()


def inspect(storage: Storage, name: str) -> Part:
    """The description of a part from its name and footer.

    Raises UserError for a foreign, corrupt or newer file, and PartGoneError for one that is no longer there.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError(
            f"{_path(storage, name)} is not a part of a ledger: move it out of {storage.where}, which holds nothing else."
        )
    with _opened(storage, name) as file:
        metadata = file.metadata
        said = metadata.metadata or {}
        version = said.get(VERSION_KEY, b"").decode(errors="replace")
        if not version.isdigit():
            sentence = "is a Parquet file but not a ledger part (it has no schema version): move it away."
            raise UserError(f"{_path(storage, name)} {sentence}")
        if int(version) > SCHEMA_VERSION:
            raise UserError(
                f"the ledger part {_path(storage, name)} has schema version {version}, newer than {SCHEMA_VERSION}: "
                "update grasp-orchestrator, or choose another output folder."
            )
        column = _point_column(metadata)
        spans = [_span(metadata, group, column) for group in range(metadata.num_row_groups)]
        names = (
            renamed_points(_columns(file, None, ["point_id", *POINT_COLUMNS])) if int(version) <= LAST_WITHOUT_VERSIONS else {}
        )
        # A row group's least and greatest recorded id say nothing of present ones between them.
        known = bool(spans) and all(high for _, high in spans) and not names
        return Part(
            name,
            int(match[1]),
            int(match[2] or match[1]),
            metadata.num_rows,
            min(low for low, _ in spans) if known else "",
            max(high for _, high in spans) if known else "",
            frozenset(json.loads(said.get(COVERS_KEY, b"[]"))),
            names,
        )


def standing(parts: Iterable[Part]) -> list[Part]:
    """Parts that no other part replaces, in the order of writing."""
    listed = list(parts)
    covered = frozenset[str]().union(*(part.covers for part in listed))
    return sorted((part for part in listed if part.name not in covered), key=lambda part: (part.last, part.first, part.name))


def read(storage: Storage, part: Part, columns: Sequence[str], points: Sequence[str] | None = None) -> pa.Table:
    """Columns of a part in the types of `SCHEMA` (null if an older schema lacks one), for some sorted points or for all.

    Raises UserError for a corrupt part, and PartGoneError for one that is no longer there.
    """
    wanted = dict.fromkeys(columns)
    wanted |= dict.fromkeys(["point_id"] if points is not None else [])
    wanted |= dict.fromkeys(["point_id", "seed"] if part.renamed else [])
    with _opened(storage, part.name) as file:
        groups = None
        if points is not None and part.highest:
            column = _point_column(file.metadata)
            spans = [_span(file.metadata, group, column) for group in range(file.metadata.num_row_groups)]
            groups = [group for group, (low, high) in enumerate(spans) if _touches(points, low, high)]
        full = renamed(_columns(file, groups, list(wanted)), part.renamed)
    if points is not None and (not part.highest or part.lowest != part.highest):
        full = full.filter(pc.field("point_id").isin(pa.array(points, pa.string())))
    return full.select(list(columns))


def _columns(file: pq.ParquetFile, groups: Sequence[int] | None, names: Sequence[str]) -> pa.Table:
    """Columns of some row groups (None: of all) as `SCHEMA` has them, null where the file lacks one."""
    present = set(file.schema_arrow.names)
    every = range(file.metadata.num_row_groups) if groups is None else groups
    found = file.read_row_groups(list(every), [name for name in names if name in present], use_threads=False)
    return pa.Table.from_arrays(
        [_column(found, name, found.num_rows) for name in names], schema=pa.schema([SCHEMA.field(name) for name in names])
    )


def each_once(table: pa.Table) -> pa.Table:
    """One row per cell: its first that did not fail, else its latest. `table` has point_id, seed and status."""
    rows = table.num_rows
    point, _ = coded(table["point_id"])
    seed = table["seed"].to_numpy()
    order = np.lexsort((seed, point))  # stable: rows of one cell keep their order of writing
    point, seed = point[order], seed[order]
    new = np.ones(rows, bool)
    new[1:] = (point[1:] != point[:-1]) | (seed[1:] != seed[:-1])
    if new.all():
        return table
    starts = np.flatnonzero(new)
    failed = is_failed(table["status"])[order]
    first_good = np.minimum.reduceat(np.where(failed, rows, np.arange(rows)), starts)
    latest = np.append(starts[1:], rows) - 1
    keep = np.zeros(rows, bool)
    keep[order[np.where(first_good < rows, first_good, latest)]] = True
    return table.filter(pa.array(keep))


def is_failed(status: pa.ChunkedArray) -> Bool[np.ndarray, " rows"]:
    """Which rows of a status column have failed."""
    return is_status(status, "failed")


def is_status(column: pa.ChunkedArray, status: str) -> Bool[np.ndarray, " rows"]:
    """Which rows of a status column have this status."""
    codes, names = coded(column)
    return codes == (names.index(status) if status in names else -1)


def coded(column: pa.ChunkedArray) -> tuple[Int64[np.ndarray, " rows"], list[str]]:
    """A text column as integer codes, and the texts of the codes."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()


@contextmanager
def _opened(storage: Storage, name: str) -> Iterator[pq.ParquetFile]:
    """A part's Parquet file; any error while reading it becomes a UserError of one sentence."""
    try:
        source = storage.open(name)
    except FileNotFoundError as error:
        raise PartGoneError(name) from error
    try:
        with source:
            yield pq.ParquetFile(source, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        if name not in storage.names():
            raise PartGoneError(name) from error
        raise UserError(
            f"the ledger part {_path(storage, name)} cannot be read ({reason_of(error)}): move it away to run its cells again."
        ) from error


def _path(storage: Storage, name: str) -> str:
    return f"{storage.where.rstrip('/')}/{name}"


def _point_column(metadata: pq.FileMetaData) -> int | None:
    """The index of the column with point ids; None if there is none."""
    schema = metadata.schema
    return next((i for i in range(len(schema)) if schema.column(i).path == "point_id"), None)


def _span(metadata: pq.FileMetaData, group: int, column: int | None) -> tuple[str, str]:
    """Least and greatest point id of a row group; empty if the file has no statistics."""
    statistics = None if column is None else metadata.row_group(group).column(column).statistics
    if statistics is None or not statistics.has_min_max:
        return "", ""
    return str(statistics.min), str(statistics.max)


def _touches(points: Sequence[str], low: str, high: str) -> bool:
    """Whether any of the sorted points lies between `low` and `high`."""
    at = bisect_left(points, low)
    return at < len(points) and points[at] <= high


def _column(table: pa.Table, name: str, rows: int) -> pa.ChunkedArray:
    kind = SCHEMA.field(name).type
    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(rows, kind)], kind)
    return table[name].cast(kind)


@dataclass(frozen=True, eq=False)
class Identity:
    """The cells of a part."""

    points: tuple[str, ...]
    """Point ids that occur in the part."""
    point: Int32[np.ndarray, " rows"]
    """Index into `points` of each row."""
    seed: Int64[np.ndarray, " rows"]
    failed: Bool[np.ndarray, " rows"]

    @staticmethod
    def of(table: pa.Table) -> Identity:
        """The cells of a table with point_id, seed and status."""
        codes, names = coded(table["point_id"])
        return Identity(tuple(names), codes.astype(np.int32), table["seed"].to_numpy(), is_failed(table["status"]))


def joined(
    identities: Iterable[Identity], include_failed: bool
) -> tuple[list[str], Int64[np.ndarray, " rows"], Int64[np.ndarray, " rows"]]:
    """Point ids, and the point index and seed of all rows, without failed ones unless included."""
    numbers: dict[str, int] = {}
    points, seeds = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for part in identities:
        renumbered = np.array([numbers.setdefault(name, len(numbers)) for name in part.points], np.int64)
        kept = slice(None) if include_failed else ~part.failed
        points.append(renumbered[part.point[kept]])
        seeds.append(part.seed[kept])
    return list(numbers), np.concatenate(points), np.concatenate(seeds)
