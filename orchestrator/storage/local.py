"""Storage in a folder: whole files, durable once `write` has returned.

A file is written to a temporary name, fsynced and renamed, and its folder is fsynced: it exists whole or not at all,
whatever dies when.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from orchestrator.storage.base import StorageError, StorageFull, reason_of
from orchestrator.storage.disk import Disk, SystemDisk
from orchestrator.storage.locks import FileLock, Lock


class LocalStorage:
    """A local or shared folder, created when it is first written to."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root = root
        self._disk = disk or SystemDisk()
        self._sure: set[Path] = set()
        """Folders that are known to survive a power failure."""

    @property
    def where(self) -> str:
        """The folder."""
        return str(self.root)

    @property
    def readers(self) -> int:
        """One, because reading is limited by the processor."""
        return 1

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file durably, replacing one of the same name."""
        target = self.root / name
        temporary = target.with_name(f".{target.name}.tmp")
        try:
            self._ensure(target.parent)
            self._fill(temporary, data)
            self._disk.rename(temporary, target)
            self._disk.sync_folder(target.parent)
        except OSError as error:
            with suppress(OSError):
                self._disk.remove(temporary)
            raise self._refusal(error) from error

    def read(self, name: str) -> bytes:
        """The contents of a file. Raises FileNotFoundError if there is none."""
        with self.open(name) as file:
            try:
                return file.read()
            except OSError as error:
                raise self._unreadable(error) from error

    def open(self, name: str) -> pa.NativeFile:
        """A file opened for Arrow's readers. Raises FileNotFoundError if there is none."""
        try:
            return self._disk.open(self.root / name)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._unreadable(error) from error

    def names(self, folder: str = "") -> list[str]:
        """Sorted names in a folder, without hidden files."""
        try:
            return sorted(name for name in self._disk.names(self.root / folder) if not name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unreadable(error) from error

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        try:
            self._disk.remove(self.root / name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._refusal(error) from error

    def sweep(self, folder: str = "") -> None:
        """Remove temporary files of dead writers."""
        try:
            names = self._disk.names(self.root / folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unreadable(error) from error
        for name in names:
            if name.startswith(".") and name.endswith(".tmp"):
                self.remove(str(Path(folder) / name))

    def child(self, folder: str) -> LocalStorage:
        """The storage of a folder below."""
        return LocalStorage(self.root / folder, self._disk)

    def prepare(self) -> None:
        """Create the folder."""
        try:
            self._ensure(self.root)
        except OSError as error:
            raise self._refusal(error) from error

    def lock(self) -> Lock:
        """An flock in the folder."""
        return FileLock(self.root)

    def _ensure(self, folder: Path) -> None:
        """Make a folder that survives a power failure, even if the process that created it died before it could sync."""
        if folder in self._sure or folder == folder.parent:
            return
        self._ensure(folder.parent)
        lacking = not self._disk.is_folder(folder)
        if lacking:
            with suppress(FileExistsError):
                self._disk.make_folder(folder)
        try:
            self._disk.sync_folder(folder.parent)
        except PermissionError:  # an existing folder above that may not be opened is not ours to sync
            if lacking:
                raise
        self._sure.add(folder)

    def _fill(self, temporary: Path, data: bytes) -> None:
        descriptor = self._disk.create(temporary)
        try:
            rest = memoryview(data)
            while len(rest):
                rest = rest[self._disk.write(descriptor, rest) :]
            self._disk.sync(descriptor)
        finally:
            self._disk.close(descriptor)

    def _refusal(self, error: OSError) -> StorageError:
        reason = reason_of(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return StorageFull(f"no room is left in {self.where} ({reason}): free some; everything recorded so far is kept.")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT):
            return StorageError(f"cannot write to the folder {self.where} ({reason}): choose one that you may write to.")
        return StorageError(f"cannot write to the folder {self.where} ({reason}): fix that and run again.")

    def _unreadable(self, error: OSError) -> StorageError:
        return StorageError(f"cannot read the folder {self.where} ({reason_of(error)}): give a folder that can be read.")
