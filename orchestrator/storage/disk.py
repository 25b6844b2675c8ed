"""The system calls that files need to be durable, in one place: tests put a disk there that fails, forgets and dies."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa


@runtime_checkable
class Disk(Protocol):
    """What `LocalStorage` asks of a disk; every method may raise OSError."""

    def is_folder(self, path: Path) -> bool:
        """Whether there is a folder."""
        ...

    def make_folder(self, path: Path) -> None:
        """Make one in a folder that exists."""
        ...

    def sync_folder(self, path: Path) -> None:
        """Make durable which files the folder has."""
        ...

    def create(self, path: Path) -> int:
        """A descriptor of an empty file for writing."""
        ...

    def write(self, descriptor: int, data: memoryview) -> int:
        """How many bytes were written: maybe fewer than given."""
        ...

    def sync(self, descriptor: int) -> None:
        """Make a file's content durable."""
        ...

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Atomically, within a folder."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file."""
        ...

    def names(self, path: Path) -> list[str]:
        """What lies in a folder."""
        ...

    def open(self, path: Path) -> pa.NativeFile:
        """For reading."""
        ...


class SystemDisk:
    """This machine's."""

    def is_folder(self, path: Path) -> bool:
        """Whether there is a folder."""
        return path.is_dir()

    def make_folder(self, path: Path) -> None:
        """Make one in a folder that exists."""
        path.mkdir()

    def sync_folder(self, path: Path) -> None:
        """Make durable which files the folder has; nothing where the file system knows no such thing."""
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(folder)

    def create(self, path: Path) -> int:
        """A descriptor of an empty file for writing."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def write(self, descriptor: int, data: memoryview) -> int:
        """How many bytes were written."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Make a file's content durable."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Atomically, within a folder."""
        old.rename(new)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def names(self, path: Path) -> list[str]:
        """What lies in a folder."""
        return [entry.name for entry in path.iterdir()]

    def open(self, path: Path) -> pa.NativeFile:
        """For reading; not mapped, for a mapped file that goes away on a network disk kills its reader."""
        return pa.OSFile(str(path), "rb")
