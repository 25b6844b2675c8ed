"""Storage of studies: a journal file, or PostgreSQL if several drivers share a study."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError, TimeoutError

from orchestrator.core.messages import mask_uri
from orchestrator.core.secrets import Secrets, one_line
from orchestrator.tuning.journal import REMEDY, check_journal
from world_models.errors import UserError, require

_DATABASE_OPTIONS = {"connect_timeout": "5", "keepalives_idle": "10", "tcp_user_timeout": "15000"}
"""Without these, a connection to a vanished database would hang for minutes."""


class JournalLock(JournalFileOpenLock):
    """An flock next to the journal, released when its holder dies; Optuna's own would block others for 30 seconds.

    Its holder finds only whole lines: half a line left by a death or a full disk is cut off.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self._journal = journal
        self._held: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        held = os.open(f"{self._journal}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            _cut_half_line(self._journal)
        except BaseException:
            os.close(held)
            raise
        self._held = held
        return True

    def release(self) -> None:
        """Release the lock."""
        if self._held is not None:
            os.close(self._held)
            self._held = None


def _cut_half_line(journal: Path) -> None:
    with journal.open("r+b") as stream:
        end = stream.seek(0, os.SEEK_END)
        size = end
        while size:
            step = min(size, 4096)
            stream.seek(size - step)
            block = stream.read(step)
            if (newline := block.rfind(b"\n")) >= 0:
                size = size - step + newline + 1
                break
            size -= step
        if size < end:
            stream.truncate(size)


def masked_location(location: str | Path) -> str:
    """The location for messages, without user, password and query."""
    return str(location) if isinstance(location, Path) else mask_uri(location)


def open_storage(location: str | Path) -> BaseStorage:
    """The storage at a path or `postgresql://` address. Raises UserError if it cannot be used."""
    if isinstance(location, Path):
        return _open_journal(location)
    scheme = urlsplit(location).scheme.partition("+")[0]
    require(
        scheme == "postgresql",
        f"study storage {mask_uri(location)!r} is neither a file nor postgresql://USER@HOST/DATABASE: give one of them.",
    )
    try:
        return _open_database(location)
    except ImportError as error:
        raise UserError("a study in PostgreSQL needs psycopg: pip install 'grasp-orchestrator[postgres]'.") from error
    except Exception as error:
        # SQLAlchemy and the driver raise a dozen exceptions for an address that does not work; all explain it in words.
        reason = Secrets.of([location], os.environ).scrub(one_line(error.__cause__ or error))
        raise UserError(
            f"study storage {mask_uri(location)} cannot be used ({reason[:200]}): start it, fix optuna.storage or omit it."
        ) from error


def _open_database(location: str) -> RDBStorage:
    """Optuna's storage, with retries, because drivers that start together may find each other's tables half made."""
    for pause in (0.5, 1.0, 2.0, 4.0):
        try:
            return RDBStorage(_with_driver(location), engine_kwargs={"pool_pre_ping": True, "pool_size": 2})
        except (IntegrityError, ProgrammingError) as error:
            if "already exists" not in str(error):
                raise
            time.sleep(pause)
    return RDBStorage(_with_driver(location), engine_kwargs={"pool_pre_ping": True, "pool_size": 2})


def _open_journal(file: Path) -> BaseStorage:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        lock = JournalLock(file)
        lock.acquire()
        lock.release()
        check_journal(file)
        return JournalStorage(JournalFileBackend(str(file), lock_obj=lock))
    except OSError as error:
        raise UserError(
            f"study storage {str(file)!r} cannot be written ({error.strerror}): choose another with optuna.storage=FILE."
        ) from error
    except UserError:
        raise
    # Optuna takes every line at its word: what a line lacks or contradicts raises errors of many classes.
    except Exception as error:
        raise UserError(f"study storage {str(file)!r} is not an Optuna journal ({one_line(error)[:150]}): {REMEDY}.") from error


def _with_driver(uri: str) -> str:
    parts = urlsplit(uri)
    query = urlencode(_DATABASE_OPTIONS | dict(parse_qsl(parts.query)), quote_via=quote)
    return urlunsplit(("postgresql+psycopg", parts.netloc, parts.path, query, ""))


def is_unavailable(error: BaseException) -> bool:
    """Whether an error means that a study's storage cannot be reached or written now, but may be later."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return any(isinstance(link, StorageInternalError | DBAPIError | TimeoutError | OSError) for link in chain)
