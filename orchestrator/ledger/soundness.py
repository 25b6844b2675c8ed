"""Checks that a part holds what its schema version says: its columns, their types, and values that a record can have."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.ledger.records import ADDED, SCHEMA, STATUSES, VERSION_KEY
from orchestrator.ledger.seal import DamagedPartError


def version_of(metadata: pq.FileMetaData) -> int:
    """The schema version of a part. Raises DamagedPartError if it says none."""
    version = (metadata.metadata or {}).get(VERSION_KEY, b"").decode(errors="replace")
    if not re.fullmatch(r"[1-9]\d{0,3}", version):
        raise DamagedPartError("it is a Parquet file but not a ledger part, because it has no schema version")
    return int(version)


def check_columns(found: pa.Schema, version: int) -> None:
    """Raise DamagedPartError unless a part has exactly the columns of its schema version, with their types."""
    ours = _columns(version)
    if found.equals(ours):
        return
    expected = ours.names
    lacking = sorted(set(expected) - set(found.names))
    unknown = sorted(set(found.names) - set(expected))
    if lacking or unknown or len(found.names) != len(expected):
        words = f"it lacks the column {lacking[0]!r}" if lacking else f"it has the column {(unknown or found.names)[0]!r}"
        raise DamagedPartError(f"{words} unlike schema version {version}")
    for name in expected:
        if found.field(name).type != SCHEMA.field(name).type:
            kind = f"{found.field(name).type}, not {SCHEMA.field(name).type}"
            raise DamagedPartError(f"its column {name!r} has the type {kind}")


@cache
def _columns(version: int) -> pa.Schema:
    """The columns of a schema version."""
    return pa.schema([field for field in SCHEMA if ADDED.get(field.name, 1) <= version])


def check_rows(table: pa.Table) -> None:
    """Raise DamagedPartError if a column has a value that no record has: none, an unknown status, an infinite number."""
    for name in table.column_names:
        field, column = SCHEMA.field(name), table[name]
        if column.null_count and not field.nullable:
            raise DamagedPartError(f"its column {name!r} lacks a value")
        if pa.types.is_float64(field.type) and not np.isfinite(column.drop_null().to_numpy()).all():
            raise DamagedPartError(f"its column {name!r} has a number that is not finite")
    unknown = set(table["status"].unique().to_pylist()) - set(STATUSES) if "status" in table.column_names else ()
    if unknown:
        raise DamagedPartError(f"it has the unknown status {min(unknown)!r}")
