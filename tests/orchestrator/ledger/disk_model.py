"""A disk that keeps what POSIX promises and no more: fsynced files, entries of fsynced folders, and any part of the rest.

It can also fail any operation, write less than requested, and die before or after any operation.
"""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

ROOT = Path("/disk")


class Crash(BaseException):
    """The process or the machine is gone."""


@dataclass(eq=False)
class File:
    data: bytes = b""
    durable: bytes = b""
    lost: bool = False
    """An fsync failed: what was written before may never reach the disk, whatever later fsyncs say."""


FOLDER = None
Entry = File | None


@dataclass(frozen=True)
class Change:
    """An entry of a folder that was made, moved or removed; durable once its folder is fsynced."""

    folder: Path
    made: tuple[Path, Entry] | None = None
    removed: Path | None = None


@dataclass(frozen=True)
class Faults:
    """The faults by operation, counted from 0."""

    errors: dict[int, str] = field(default_factory=dict)
    """`before`, `after` (the operation is done but reports a failure), `full` or `short`."""
    crash_at: int | None = None
    crash_after: bool = False


class ModelDisk:
    def __init__(self, entries: dict[Path, Entry] | None = None) -> None:
        self.live: dict[Path, Entry] = dict(entries or {ROOT: FOLDER})
        self.durable = dict(self.live)
        self.pending: list[Change] = []
        self.operations: list[str] = []
        self.dead = False
        self._open: dict[int, File] = {}
        self._faults = Faults()

    def arm(self, faults: Faults) -> None:
        self.operations.clear()
        self._faults = faults

    def after_crash(self, power: bool, rng: random.Random) -> ModelDisk:
        """The disk that the next process finds: everything, or after a power failure what survived."""
        if not power:
            survivor = ModelDisk(self.live)
            survivor.durable, survivor.pending = dict(self.durable), list(self.pending)
            return survivor
        entries = dict(self.durable)
        for change in self.pending:
            if rng.random() < 0.5:
                _apply(entries, change)
        kept = {
            path: entry
            for path, entry in entries.items()
            if all(parent in entries for parent in path.parents if ROOT in parent.parents)
        }
        return ModelDisk({path: entry if entry is FOLDER else _survivor(entry, rng) for path, entry in kept.items()})

    # The Disk protocol.

    def is_folder(self, path: Path) -> bool:
        self._alive()
        return path in ROOT.parents or self.live.get(path, 0) is FOLDER

    def make_folder(self, path: Path) -> None:
        with self._operation("mkdir"):
            if path in self.live:
                raise FileExistsError(path)
            self._change(Change(path.parent, (path, FOLDER)))

    def sync_folder(self, path: Path) -> None:
        with self._operation("sync_folder"):
            for change in [change for change in self.pending if change.folder == path]:
                _apply(self.durable, change)
                self.pending.remove(change)

    def create(self, path: Path) -> int:
        with self._operation("create"):
            if self.live.get(path.parent, 0) is not FOLDER:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory")
            file = self.live.get(path)
            if file is None:
                file = File()
                self._change(Change(path.parent, (path, file)))
            file.data = b""
            descriptor = len(self.operations) + 1000
            self._open[descriptor] = file
            return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        short = self._faults.errors.get(len(self.operations)) == "short"
        with self._operation("write"):
            taken = bytes(data[: max(1, len(data) // 3)] if short else data)
            self._open[descriptor].data += taken
            return len(taken)

    def sync(self, descriptor: int) -> None:
        file = self._open[descriptor]
        try:
            with self._operation("sync"):
                if not file.lost:
                    file.durable = file.data
        except OSError:
            file.lost = True
            raise

    def close(self, descriptor: int) -> None:
        with self._operation("close"):
            del self._open[descriptor]

    def rename(self, old: Path, new: Path) -> None:
        with self._operation("rename"):
            self._change(Change(new.parent, (new, self.live[old]), old))

    def remove(self, path: Path) -> None:
        with self._operation("remove"):
            if path not in self.live:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory")
            self._change(Change(path.parent, removed=path))

    def names(self, path: Path) -> list[str]:
        self._alive()
        if path not in self.live:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return [entry.name for entry in self.live if entry.parent == path]

    def open(self, path: Path) -> pa.NativeFile:
        self._alive()
        file = self.live.get(path)
        if file is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return pa.BufferReader(file.data)

    def _alive(self) -> None:
        if self.dead:
            raise Crash

    def _change(self, change: Change) -> None:
        _apply(self.live, change)
        self.pending.append(change)

    def _operation(self, name: str) -> _Operation:
        return _Operation(self, name, self._faults)


class _Operation:
    """Do one operation with its fault."""

    def __init__(self, disk: ModelDisk, name: str, faults: Faults) -> None:
        self._disk = disk
        self._number = len(disk.operations)
        self._faults = faults
        self._name = name

    def __enter__(self) -> None:
        self._disk._alive()
        self._disk.operations.append(self._name)
        if self._faults.crash_at == self._number and not self._faults.crash_after:
            self._die()
        kind = self._faults.errors.get(self._number)
        if kind == "before":
            raise OSError(errno.EIO, "Input/output error")
        if kind == "full":
            raise OSError(errno.ENOSPC, "No space left on device")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._faults.crash_at == self._number:
            self._die()
        if self._faults.errors.get(self._number) == "after" and error is None:
            raise OSError(errno.EIO, "Input/output error")

    def _die(self) -> None:
        self._disk.dead = True
        raise Crash


def _apply(entries: dict[Path, Entry], change: Change) -> None:
    if change.removed is not None:
        entries.pop(change.removed, None)
    if change.made is not None:
        entries[change.made[0]] = change.made[1]


def _survivor(file: File, rng: random.Random) -> File:
    """The content after a power failure: what was synced, and part of the rest or zeros in its place."""
    if file.data == file.durable:
        found = file.data
    else:
        part = file.data[: rng.randrange(len(file.data) + 1)]
        found = rng.choice([file.durable, part, part + bytes(len(file.data) - len(part)), bytes(len(file.data))])
    return File(found, found)
