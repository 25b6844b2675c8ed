"""Locks that admit one writer at a time: an flock on a disk, a lease with a beat in an object store.

Neither compares the clocks of two machines.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from orchestrator.core.process import ProcessIdentity
from world_models.errors import UserError
from world_models.files.reading import SpoiltFileError, parse_json, to_json

LOCK_TIMEOUT = 0.5
"""Seconds to wait for a lock: whoever asks who holds it keeps it for a moment."""

_LOCK = ".lock"


@dataclass(frozen=True)
class Holder:
    """The process that writes, or wrote last."""

    host: str
    pid: int
    alive: bool
    """Whether it writes now."""
    token: str = ""
    """Random text that no two holders share."""
    beat: int = 0
    """A counter that grows while the holder of a lease lives."""
    process: ProcessIdentity | None = None
    """More than host and pid, which others may have later; None if an earlier version wrote it."""

    @staticmethod
    def here() -> Holder:
        """This process, with a new token."""
        process = ProcessIdentity.here()
        return Holder(process.host, process.pid, True, uuid.uuid4().hex, process=process)

    @staticmethod
    def of_json(text: str) -> Holder:
        """The holder that `to_json` wrote; an unknown holder for any other text."""
        try:
            return parse_json(text, Holder, "the holder of a lock", "wait for it", "the lock")
        except SpoiltFileError:
            return Holder("unknown", 0, True)

    def to_json(self) -> str:
        """One line of JSON."""
        return to_json(self) + "\n"

    def __str__(self) -> str:
        return f"host {self.host}, pid {self.pid}"


@runtime_checkable
class Lock(Protocol):
    """A lock with one holder at a time."""

    def acquire(self) -> None:
        """Acquire the lock. Raises UserError naming the host and pid of another holder."""
        ...

    def check(self) -> None:
        """Raise UserError if the lock was lost, which should not happen."""
        ...

    def release(self) -> None:
        """Release the lock; never raises."""
        ...

    def holder(self) -> Holder | None:
        """The present or last holder; None if there never was one."""
        ...


class HeldError(UserError):
    """Another driver writes to the ledger."""


def held_error(holder: Holder | None, where: str) -> HeldError:
    """The error for a second writer."""
    return HeldError(
        f"another driver writes to {where} ({holder or 'an unknown process'}): wait for it, stop it, "
        "or let it plan this sweep as well with --join."
    )


def lost_error(holder: Holder | None, where: str) -> UserError:
    """The error for a writer whose lock another has taken."""
    return UserError(
        f"another driver has taken over {where} ({holder or 'its lock file was removed'}): "
        "this one stops; what it recorded is kept, and the same command continues it."
    )


class FileLock:
    """An flock on `.lock` in a folder; the kernel releases it when its holder dies."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file = root / _LOCK
        self._descriptor: int | None = None
        self._mine = Holder.here()

    def acquire(self) -> None:
        """Acquire the lock. Raises UserError if another holds it, or if the file system has no locks."""
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            sentence = f"cannot write to the folder {self._root} ({error.strerror}): choose one that you may write to."
            raise UserError(sentence) from error
        try:
            self._flock(descriptor)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, self._mine.to_json().encode(), 0)
        except OSError as error:
            os.close(descriptor)
            raise UserError(f"cannot write to the folder {self._root} ({error.strerror}): fix that and run again.") from error
        except UserError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def check(self) -> None:
        """Raise UserError unless the lock file still names this writer: some file systems lock for one machine only."""
        found = self._written()
        if found is None or found.token != self._mine.token:
            raise lost_error(found, str(self._root))

    def release(self) -> None:
        """Release the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> Holder | None:
        """The present or last holder; None if there never was one."""
        try:
            descriptor = os.open(self._file, os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            alive = False
        except OSError as error:
            alive = error.errno in (errno.EWOULDBLOCK, errno.EACCES)
        finally:
            os.close(descriptor)
        found = self._written()
        return None if found is None else replace(found, alive=alive)

    def _flock(self, descriptor: int) -> None:
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise UserError(
                        f"the file system of {self._root} cannot lock files ({error.strerror}): "
                        "mount it with locks, or keep results elsewhere with storage=."
                    ) from error
                if time.monotonic() > deadline:
                    raise held_error(self._written(), str(self._root)) from error
            time.sleep(0.02)

    def _written(self) -> Holder | None:
        text = ""
        with suppress(OSError):
            text = self._file.read_text(errors="replace", encoding="utf-8")
        return Holder.of_json(text) if text.strip() else None
