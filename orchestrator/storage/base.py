"""The storage protocol: whole files under one root, durable once `write` has returned."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

import pyarrow as pa

from orchestrator.storage.locks import Lock
from world_models.errors import UserError


class StorageError(UserError):
    """A file could not be written or read; everything written before is kept."""


class StorageWaitError(StorageError):
    """A storage error whose cause may pass by itself, so a retry is worthwhile."""

    until = "its store answers"
    """When a retry succeeds, in words."""


class StorageFull(StorageWaitError):  # noqa: N818 - it names a condition, not a mistake
    """The storage has no space left."""

    until = "there is room"


@runtime_checkable
class Storage(Protocol):
    """Files under one root, with names like `point/7.gif`. One writer at a time; reading needs no lock.

    Every method may raise StorageError.
    """

    @property
    def where(self) -> str:
        """The root without credentials, for messages."""
        ...

    @property
    def readers(self) -> int:
        """How many files are best read at the same time."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file durably, replacing one of the same name. After an error it may exist or not, but never in part."""
        ...

    def read(self, name: str) -> bytes:
        """The contents of a file. Raises FileNotFoundError if there is none."""
        ...

    def open(self, name: str) -> pa.NativeFile:
        """A file opened for Arrow's readers. Raises FileNotFoundError if there is none."""
        ...

    def names(self, folder: str = "") -> list[str]:
        """Sorted names in a folder, without hidden files; empty if there is no such folder."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        ...

    def sweep(self, folder: str = "") -> None:
        """Remove files that dead writers left half written. Only the holder of the lock may call it."""
        ...

    def prepare(self) -> None:
        """Create the root if necessary. Raises StorageError if it cannot be written to."""
        ...

    def child(self, folder: str) -> Storage:
        """The storage whose root is a folder of this one."""
        ...

    def lock(self) -> Lock:
        """The lock for writers under this root."""
        ...


def below(where: Path | str, folder: str) -> Path | str:
    """A folder below another folder or a URI; a URI keeps its query."""
    if isinstance(where, Path) or "://" not in where:
        return Path(where) / folder
    parts = urlsplit(where)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{folder}").geturl()


def reason_of(error: Exception) -> str:
    """The system's reason for an error, in a few words."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0][:200] if text else type(error).__name__
