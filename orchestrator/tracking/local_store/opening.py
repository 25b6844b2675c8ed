"""Opens MLflow's SQLite file; a new one is made whole by one process at a time."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL

from orchestrator.tracking.local_store.moved import ARTIFACTS, follow_folder
from world_models.files.writing import whole_file

if TYPE_CHECKING:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore


@contextmanager
def opened(database: Path) -> Iterator[SqlAlchemyStore]:
    """MLflow's store over a database file, which is made if necessary; other processes wait until the block ends.

    Two processes that initialise a new file at once would break it, and so would one that dies meanwhile: they take turns, and
    a new file gets its name only when it is whole. Raises the errors of MLflow, of SQLite and of the system.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    with (database.parent / f".{database.name}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.exists() or database.stat().st_size == 0:
            with whole_file(database) as temporary:
                _store(temporary, database).engine.dispose()
        follow_folder(database)
        yield _store(database, database)


def _store(file: Path, database: Path) -> SqlAlchemyStore:
    """A store with its own engine: those that MLflow keeps by address go on with a file that was removed or never whole."""
    from mlflow.store.db.utils import create_sqlalchemy_engine_with_retry
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    class OwnStore(SqlAlchemyStore):
        @classmethod
        def _get_or_create_engine(cls, db_uri: str):
            return create_sqlalchemy_engine_with_retry(db_uri)

    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    address = URL.create("sqlite", database=str(file)).render_as_string()
    return OwnStore(address, (database.parent / ARTIFACTS).as_uri())
