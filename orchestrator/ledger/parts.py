"""Parts of a ledger: Parquet files named after the appends that they hold, and functions that read them.

`part-NUMBER-DIGEST.parquet` is one append. `part-FIRST-LAST-DIGEST.parquet` was merged from others, whose names it lists: it
replaces them, whether they have been removed yet or not. What is read is compared with a digest first: see `seal.py`.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Int64

from orchestrator.ledger.identity import LAST_WITHOUT_VERSIONS, POINT_COLUMNS, renamed, renamed_points
from orchestrator.ledger.records import SCHEMA, SCHEMA_VERSION
from orchestrator.ledger.seal import SEAL_KEY, DamagedPartError, SealedPart, blank, footer_of, sealed, whole_digest
from orchestrator.ledger.soundness import check_columns, check_rows, version_of
from orchestrator.storage.base import Storage, StorageError, reason_of
from world_models.errors import UserError

ROW_GROUP = 8192
"""Rows in a row group, the least that is read for a single point."""

COVERS_KEY = b"grasp.covers"
"""Key in the file's metadata under which a merged part lists the parts that it replaces."""

_NAME = re.compile(r"part-(\d{8,18})(?:-(\d{8,18}))?-([0-9a-f]{8})\.parquet")
_TEXT: dict[str, Any] = {"use_dictionary": [field.name for field in SCHEMA if pa.types.is_string(field.type)]}
"""Only text columns get a dictionary: no two actions are alike."""


class PartGoneError(Exception):
    """A part was removed after the folder was listed, which must be listed again."""


class NewerPartError(UserError):
    """A part of a newer schema version."""


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
    is_sealed: bool = True
    """Whether it has digests of its own; else all of it was compared with its name when it was inspected."""

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
    groups = -(-table.num_rows // ROW_GROUP)
    metadata = {SEAL_KEY: blank(groups, len(SCHEMA)), **({COVERS_KEY: json.dumps(names)} if names else {})}
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, SCHEMA, compression="zstd", write_page_checksum=True, **_TEXT) as writer:
        writer.write_table(table, ROW_GROUP)
        writer.add_key_value_metadata(metadata)
    return sealed(buffer.getvalue())


def inspect(storage: Storage, name: str) -> Part:
    """The description of a part from its name and footer, which are compared with its digests.

    Raises UserError for a foreign or newer file, DamagedPartError for a damaged one, and PartGoneError for one that is not
    there any more.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError(
            f"{_path(storage, name)} is not a part of a ledger: move it out of {storage.where}, which holds nothing else."
        )

    def described(part: _PartFile) -> Part:
        metadata = part.file.metadata
        version = version_of(metadata)
        if version > SCHEMA_VERSION:
            raise NewerPartError(
                f"the ledger part {_path(storage, name)} has schema version {version}, newer than {SCHEMA_VERSION}: "
                "update grasp-orchestrator, or choose another output folder."
            )
        check_columns(part.file.schema_arrow, version)
        column = _point_column(metadata)
        spans = [_span(metadata, group, column) for group in range(metadata.num_row_groups)]
        names = renamed_points(_columns(part, None, ["point_id", *POINT_COLUMNS])) if version <= LAST_WITHOUT_VERSIONS else {}
        # A row group's least and greatest recorded id say nothing of present ones between them.
        known = bool(spans) and all(high for _, high in spans) and not names
        return Part(
            name,
            int(match[1]),
            int(match[2] or match[1]),
            metadata.num_rows,
            min(low for low, _ in spans) if known else "",
            max(high for _, high in spans) if known else "",
            _covers(metadata),
            names,
            isinstance(part, SealedPart),
        )

    return _reading(storage, name, described)


def verify(storage: Storage, name: str) -> int:
    """Read all of a part, compare it with all its digests, and return its number of rows. Raises what `inspect` raises."""
    with _opened(storage, name) as source:
        _compare_with_name(source, name)
    return read(storage, inspect(storage, name), SCHEMA.names).num_rows


def standing(parts: Iterable[Part]) -> list[Part]:
    """Parts that no other part replaces, in the order of writing."""
    listed = list(parts)
    covered = frozenset[str]().union(*(part.covers for part in listed))
    return sorted((part for part in listed if part.name not in covered), key=lambda part: (part.last, part.first, part.name))


def read(storage: Storage, part: Part, columns: Sequence[str], points: Sequence[str] | None = None) -> pa.Table:
    """Columns of a part in the types of `SCHEMA` (null if an older schema lacks one), for some sorted points or for all.

    Raises DamagedPartError for a part whose bytes or values are not those of a ledger, and PartGoneError for one that is no
    longer there.
    """
    wanted = dict.fromkeys(columns)
    wanted |= dict.fromkeys(["point_id"] if points is not None else [])
    wanted |= dict.fromkeys(["point_id", "seed"] if part.renamed else [])

    def selected(opened: _PartFile) -> pa.Table:
        groups = None
        if points is not None and part.highest:
            metadata = opened.file.metadata
            column = _point_column(metadata)
            spans = [_span(metadata, group, column) for group in range(metadata.num_row_groups)]
            groups = [group for group, (low, high) in enumerate(spans) if _touches(points, low, high)]
        return renamed(_columns(opened, groups, list(wanted)), part.renamed)

    full = _reading(storage, part.name, selected, part)
    if points is not None and (not part.highest or part.lowest != part.highest):
        full = full.filter(pc.field("point_id").isin(pa.array(points, pa.string())))
    return full.select(list(columns))


def _columns(part: _PartFile, groups: Sequence[int] | None, names: Sequence[str]) -> pa.Table:
    """Columns of some row groups (None: of all) as `SCHEMA` has them, null where the part lacks one."""
    present = set(part.file.schema_arrow.names)
    every = [*range(part.file.metadata.num_row_groups)] if groups is None else [*groups]
    part.load(every, names)
    found = part.file.read_row_groups(every, [name for name in names if name in present], use_threads=False)
    check_rows(found)
    return pa.Table.from_arrays(
        [_column(found, name, found.num_rows) for name in names], schema=pa.schema([SCHEMA.field(name) for name in names])
    )


def each_once(table: pa.Table) -> pa.Table:
    """One row per cell: the latest that did not fail, else the latest. `table` has point_id, seed and status."""
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
    last_good = np.maximum.reduceat(np.where(failed, -1, np.arange(rows)), starts)
    latest = np.append(starts[1:], rows) - 1
    keep = np.zeros(rows, bool)
    keep[order[np.where(last_good >= 0, last_good, latest)]] = True
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


@dataclass(frozen=True)
class _WholePart:
    """A part without a seal, which was compared whole."""

    file: pq.ParquetFile

    def load(self, groups: Sequence[int], names: Collection[str]) -> None:
        """Do nothing: Arrow reads from the file."""


_PartFile = SealedPart | _WholePart
_Read = TypeVar("_Read")


def _reading(storage: Storage, name: str, reading: Callable[[_PartFile], _Read], inspected: Part | None = None) -> _Read:
    """The result of `reading` a part. Errors as in `read`.

    A part without a seal is compared with its name unless it was `inspected` before.
    """
    with _opened(storage, name) as source:
        footer = footer_of(source)
        if footer is not None:
            return reading(SealedPart(source, footer))
        if inspected is None:
            _compare_with_name(source, name)
        elif inspected.is_sealed:
            raise DamagedPartError("it has lost its digests")
        return reading(_WholePart(pq.ParquetFile(source, page_checksum_verification=True)))


def _compare_with_name(source: pa.NativeFile, name: str) -> None:
    """Raise DamagedPartError unless all bytes of a part have the digest of its name."""
    if whole_digest(source) != _NAME.sub(r"\3", name):
        raise DamagedPartError("its bytes differ from the digest in its name")


@contextmanager
def _opened(storage: Storage, name: str) -> Iterator[pa.NativeFile]:
    """A part's file; any error while reading it becomes a UserError of one sentence."""
    try:
        source = storage.open(name)
    except FileNotFoundError as error:
        raise PartGoneError(name) from error
    try:
        with source:
            yield source
    except NewerPartError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        if name not in storage.names():
            raise PartGoneError(name) from error
        where = _path(storage, name)
        if isinstance(error, OSError):
            sentence = f"the ledger part {where} cannot be read ({reason_of(error)}): check its disk or store, and run again."
            raise StorageError(sentence) from error
        raise DamagedPartError(
            f"the ledger part {where} is damaged ({reason_of(error)}): `grasp check --set-aside` moves it away, "
            "and the sweep, run again, plans its cells once more."
        ) from error


def _path(storage: Storage, name: str) -> str:
    return f"{storage.where.rstrip('/')}/{name}"


def _point_column(metadata: pq.FileMetaData) -> int | None:
    """The index of the column with point ids; None if there is none."""
    schema = metadata.schema
    return next((i for i in range(len(schema)) if schema.column(i).path == "point_id"), None)


def _covers(metadata: pq.FileMetaData) -> frozenset[str]:
    """Names of the parts that a part was merged from."""
    names = json.loads((metadata.metadata or {}).get(COVERS_KEY, b"[]"))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DamagedPartError("it does not list the parts that it replaces")
    return frozenset(names)


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
