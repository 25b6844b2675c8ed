"""What a storage is: whole files under one root, durable once `write` has returned."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

import pyarrow as pa

from orchestrator.storage.locks import Lock
from world_models.errors import UserError


class StorageError(UserError):
    """A file could not be written or read; whatever was written before is kept."""


class StorageWaitError(StorageError):
    """The same, for a reason that may pass by itself: worth trying again."""


class StorageFull(StorageWaitError):  # noqa: N818 - it names a state of the world, not a mistake
    """No room is left."""


@runtime_checkable
class Storage(Protocol):
    """Files under one root, by names like `point/7.gif`. One writer at a time; reading needs nobody's leave.

    Every method may raise StorageError.
    """

    @property
    def where(self) -> str:
        """The root, fit for messages: without credentials."""
        ...

    @property
    def readers(self) -> int:
        """Files that are best read at the same time."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """A whole file, durable; it replaces one of the same name. After an error it may be there or not, never in part."""
        ...

    def read(self, name: str) -> bytes:
        """A whole file. FileNotFoundError where there is none."""
        ...

    def open(self, name: str) -> pa.NativeFile:
        """For Arrow's readers. FileNotFoundError where there is none."""
        ...

    def names(self, folder: str = "") -> list[str]:
        """What lies in a folder, sorted, without hidden files; nothing where there is no such folder."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""
        ...

    def sweep(self, folder: str = "") -> None:
        """Remove what writers that died have left half written. Only for the one who holds the lock."""
        ...

    def prepare(self) -> None:
        """Make the root where it is lacking; StorageError where it cannot be written to."""
        ...

    def child(self, folder: str) -> Storage:
        """The storage whose root is a folder of this one."""
        ...

    def lock(self) -> Lock:
        """The lock of those who write under this root."""
        ...


def below(where: Path | str, folder: str) -> Path | str:
    """A folder of a folder or of a URI, whose query stays its query."""
    if isinstance(where, Path) or "://" not in where:
        return Path(where) / folder
    parts = urlsplit(where)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{folder}").geturl()


def reason_of(error: Exception) -> str:
    """What the system says, in a few words."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0][:200] if text else type(error).__name__
