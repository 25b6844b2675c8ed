"""The system calls that make files durable, in one place, so that tests can replace the disk by one that fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa


@runtime_checkable
class Disk(Protocol):
    """The operations that `LocalStorage` needs of a disk; each may raise OSError."""

    def is_folder(self, path: Path) -> bool:
        """Whether the path is a folder."""
        ...

    def make_folder(self, path: Path) -> None:
        """Make a folder inside an existing one."""
        ...

    def sync_folder(self, path: Path) -> None:
        """Make the folder's list of files durable."""
        ...

    def create(self, path: Path) -> int:
        """A descriptor of a new, empty file for writing."""
        ...

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write data and return the number of bytes written, which may be smaller than what was given."""
        ...

    def sync(self, descriptor: int) -> None:
        """Make a file's content durable."""
        ...

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Rename a file atomically within its folder."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file."""
        ...

    def names(self, path: Path) -> list[str]:
        """The names in a folder."""
        ...

    def open(self, path: Path) -> pa.NativeFile:
        """A file opened for reading."""
        ...


class SystemDisk:
    """The disk of this machine."""

    def is_folder(self, path: Path) -> bool:
        """Whether the path is a folder."""
        return path.is_dir()

    def make_folder(self, path: Path) -> None:
        """Make a folder inside an existing one."""
        path.mkdir()

    def sync_folder(self, path: Path) -> None:
        """Make the folder's list of files durable, if the file system supports that."""
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(folder)

    def create(self, path: Path) -> int:
        """A descriptor of a new, empty file for writing."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write data and return the number of bytes written."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Make a file's content durable."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Rename a file atomically within its folder."""
        old.rename(new)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def names(self, path: Path) -> list[str]:
        """The names in a folder."""
        return [entry.name for entry in path.iterdir()]

    def open(self, path: Path) -> pa.NativeFile:
        """A file opened for reading, not memory-mapped: a mapped file that vanishes from a network disk kills its reader."""
        return pa.OSFile(str(path), "rb")
