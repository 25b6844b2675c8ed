"""The records of an archive, checked against its grid and the ledger's rules before one of them is written."""

# pyright: reportAttributeAccessIssue=false
# pyarrow makes the functions of pyarrow.compute when it is imported.

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.core.cell import cell_id_of
from orchestrator.evaluation.curves import COST_SAMPLES, MOST_DISTANCES
from orchestrator.ledger.identity import POINT_COLUMNS, point_of
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import IN_MODEL, LISTS, SCHEMA, STATUSES
from sweeps.archives.members import refused
from sweeps.config.grid import Grid

MOST_TEXT = 2**16
"""Most bytes of a text in a record."""

_TEXTS = [field.name for field in SCHEMA if pa.types.is_string(field.type)]
_NUMBERS = [field.name for field in SCHEMA if pa.types.is_floating(field.type)]
_LEAST = {
    **dict.fromkeys(("distance", "start_distance", "model_distance", "plan_seconds", "batch_seconds", "worker_seconds"), 0),
    **dict.fromkeys(("disagreement", "seed", "noise_seed", "evaluations", "steps_to_success", "first_success"), 0),
    **dict.fromkeys(("horizon", "batch_size", "attempts", "threads"), 1),
    **dict.fromkeys(("algorithm_version", "task_version", "loader_version"), 1),
}
"""Least value of a column; null is allowed where the ledger allows it."""
_MOST_ITEMS = {"costs": COST_SAMPLES, "distances": MOST_DISTANCES}
_MOST_ACTION = 1024
"""Most numbers in one action."""
_YEARS = (2000, 2200)


def checked_records(folder: Path, grid: Grid, cells: int, most_bytes: int, file: Path) -> pa.Table:
    """The records in the ledger `folder`, unpacked from `file`, of which its manifest counts `cells`.

    Raises UserError unless each belongs to a cell of the grid, was made by this package, and reads to less than `most_bytes`.
    """
    try:
        fault = _size_fault(sorted(folder.glob("*.parquet")), cells, most_bytes)
        table = None if fault else Ledger(folder).table()
        fault = fault or next(_faults(table, grid, cells), None)
    except Exception as error:
        # Arrow, JSON and the ledger raise two dozen exceptions for bytes that somebody chose: none of them is ours.
        reason = " ".join(str(error).split()).replace(f"{folder}/", "")[:300].rstrip(".")
        raise refused(file, f"its records cannot be read: {reason or type(error).__name__}") from error
    if fault is not None:
        raise refused(file, fault)
    assert table is not None
    return table


def _size_fault(parts: list[Path], cells: int, most_bytes: int) -> str | None:
    """The reason not to read the parts into memory, if there is one: Parquet says a value once, however often it occurs."""
    rows = values = size = 0
    for part in parts:
        with pq.ParquetFile(part, read_dictionary=_TEXTS) as opened:
            metadata = opened.metadata
            rows += metadata.num_rows
            groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
            columns = [group.column(column) for group in groups for column in range(group.num_columns)]
            values += sum(column.num_values for column in columns)
            size += sum(column.total_uncompressed_size for column in columns)
            if rows > cells:
                return f"it holds more records than the {cells} cells that its manifest counts"
            if max(8 * values, size) > most_bytes:
                return f"its records read to more than {most_bytes} bytes"
            present = [name for name in _TEXTS if name in opened.schema_arrow.names]
            size += sum(_text_bytes(opened.read([name])[name]) for name in present)
            if size > most_bytes:
                return f"its records read to more than {most_bytes} bytes"
    return None


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Bytes of a column of texts, most of which occur often."""
    total = 0
    for chunk in column.chunks:
        if isinstance(chunk, pa.DictionaryArray):
            lengths = pc.fill_null(pc.binary_length(chunk.dictionary), 0)
            total += pc.sum(pc.take(lengths, chunk.indices)).as_py() or 0
        else:
            total += pc.sum(pc.binary_length(chunk)).as_py() or 0
    return total


def _faults(table: pa.Table, grid: Grid, cells: int) -> Iterator[str]:
    """The faults of the records, one after the other, each in a few words."""
    for field in SCHEMA:
        if not field.nullable and table[field.name].null_count:
            yield f"a record has no {field.name}"
    yield from _text_faults(table)
    yield from _number_faults(table)
    yield from _list_faults(table)
    yield from _status_faults(table)
    yield from _identity_faults(table, grid)
    if table.num_rows != cells:
        yield f"it holds {table.num_rows} records and its manifest counts {cells} cells"


def _text_faults(table: pa.Table) -> Iterator[str]:
    for name in _TEXTS:
        table[name].validate(full=True)  # raises for bytes that are not UTF-8
        if (pc.max(pc.binary_length(table[name])).as_py() or 0) > MOST_TEXT:
            yield f"the {name} of a record has more than {MOST_TEXT} bytes"
    for text in pc.unique(table["versions"]).to_pylist():
        if not isinstance(found := json.loads(text), dict) or not all(isinstance(one, str) for one in found.values()):
            yield f"the versions of a record are {text[:60]!r}"


def _number_faults(table: pa.Table) -> Iterator[str]:
    for name in _NUMBERS:
        if pc.any(pc.invert(pc.is_finite(table[name]))).as_py():
            yield f"the {name} of a record is not finite"
    for name, least in _LEAST.items():
        found = pc.min(table[name]).as_py()
        if found is not None and found < least:
            yield f"the {name} of a record is {found:g}"
    for name in ("steps_to_success", "first_success"):
        if pc.any(pc.greater(table[name], table["horizon"])).as_py():
            yield "a record has more steps to success than steps"
    times = pc.min_max(pc.year(table["finished_at"])).as_py()
    if table.num_rows and not _YEARS[0] <= times["min"] <= times["max"] <= _YEARS[1]:
        yield f"a record was finished in the year {times['min']} or {times['max']}"


def _list_faults(table: pa.Table) -> Iterator[str]:
    for name in LISTS:
        items = pc.list_flatten(table[name])
        if pc.any(pc.invert(pc.is_finite(items))).as_py() or (name == "actions" and items.null_count):
            yield f"the {name} of a record are not all finite"
    for name, most in _MOST_ITEMS.items():
        if (pc.max(pc.list_value_length(table[name])).as_py() or 0) > most:
            yield f"a record has more than {most} {name}"
    lengths = pc.list_value_length(table["actions"]).to_numpy()
    horizons = table["horizon"].to_numpy()
    planned = ~pc.equal(table["status"], "failed").to_numpy()
    if np.any(lengths % horizons) or np.any(lengths > _MOST_ACTION * horizons) or np.any(lengths[planned] == 0):
        yield "the actions of a record are not as many as its horizon needs"


def _status_faults(table: pa.Table) -> Iterator[str]:
    judges = set(pc.unique(table["judged"]).to_pylist()) - {None, IN_MODEL}
    if judges:
        yield f"a record is judged by {min(judges)[:40]!r}"
    unknown = set(pc.unique(table["status"]).to_pylist()) - set(STATUSES)
    if unknown:
        yield f"the status of a record is {min(unknown)[:40]!r}"
    failed = pc.equal(table["status"], "failed")
    if pc.any(pc.and_(failed, table["success"])).as_py():
        yield "a failed record has success"
    if pc.any(pc.and_(pc.invert(failed), pc.is_valid(table["error"]))).as_py():
        yield "a record has an error and did not fail"
    if pc.any(pc.greater(table["first_success"], table["steps_to_success"])).as_py():
        yield "the first success of a record comes after its last begins"
    at_end = pc.equal(table["success"], pc.is_valid(table["steps_to_success"]))
    # Other rules may count a goal that was left again, but none that was never reached.
    by_rule = pc.or_(pc.invert(table["success"]), pc.is_valid(table["first_success"]))
    if pc.any(pc.invert(pc.if_else(pc.is_null(table["success_rule"]), at_end, by_rule))).as_py():
        yield "the steps to success of a record do not fit its success"


def _identity_faults(table: pa.Table, grid: Grid) -> Iterator[str]:
    """Records that are of no cell of the grid, or of another than they say."""
    points, seeds = {entry.point.point_id for entry in grid.entries}, set(grid.seeds)
    for cell, point, seed in zip(*(table[name].to_pylist() for name in ("cell_id", "point_id", "seed")), strict=True):
        if point not in points or seed not in seeds or cell != cell_id_of(point, seed):
            yield f"it holds cell {cell[:40]!r}, which does not belong to its sweep"
    described = table.group_by(["point_id", *POINT_COLUMNS]).aggregate([]).to_pylist()
    for row in described:
        if point_of(row).point_id != row["point_id"]:
            yield f"its records of point {row['point_id']} are of another point"
