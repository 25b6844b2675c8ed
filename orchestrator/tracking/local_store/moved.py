"""A moved or copied output folder keeps its artifacts below itself, though MLflow records absolute addresses."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from world_models.errors import UserError

ARTIFACTS = "mlartifacts"
"""Folder of the artifacts, beside the database."""

_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns with addresses of artifacts."""

_PATIENCE = 20.0
"""Seconds to wait for another process that writes."""


def follow_folder(database: Path) -> None:
    """Let the addresses in a database begin with the folder beside it, if it was made in another place.

    Raises UserError if the database cannot be read or written.
    """
    here = (database.resolve().parent / ARTIFACTS).as_uri()
    try:
        with closing(sqlite3.connect(database, timeout=_PATIENCE)) as connection, connection:
            recorded = _recorded(connection)
            if recorded is None or recorded == here or _is_same(recorded, here):
                return
            for table, column in _ADDRESSES:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (here, len(recorded) + 1, recorded, len(recorded) + 1, f"{recorded}/"),
                )
    except sqlite3.Error as error:
        raise UserError(f"MLflow's file {str(database)!r} cannot be used ({error}): fix that and run again.") from error


def _recorded(connection: sqlite3.Connection) -> str | None:
    """The folder that artifacts were kept in: MLflow's first experiment is made with the file."""
    found = connection.execute("SELECT artifact_location FROM experiments WHERE experiment_id = 0").fetchone()
    location = str(found[0]) if found else ""
    ours = location.startswith("file://") and location.endswith(f"/{ARTIFACTS}/0")
    return location.removesuffix("/0") if ours else None


def _is_same(one: str, other: str) -> bool:
    """Whether two addresses lead to one folder, as two mounts do."""
    first, second = (Path(unquote(urlsplit(uri).path)) for uri in (one, other))
    return first.exists() and second.exists() and first.samefile(second)
