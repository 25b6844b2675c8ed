"""The outbox: records still to be written to MLflow, as small files in one folder, delivered in order by one process at a time.

A record says what to write ("these points of this sweep are complete") without the data, which is in the ledger. So records
stay small, and delivering one twice is harmless. Each is written to a temporary name, fsynced and renamed: it exists whole or
not at all. Records of one writer keep their order; records of different processes have no order between them.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from orchestrator.core.process import NOBODY, Life, ProcessIdentity, host
from orchestrator.tracking.content.sweep_info import CellSet, Labels, PointLabels, SavedGroup, SweepInfo
from world_models.files.names import inside
from world_models.files.reading import Count, SpoiltFileError, read_json, set_aside, to_json
from world_models.files.writing import TEMPORARY, WriteError, write_error, write_file

_log = logging.getLogger(__name__)

_NAME = re.compile(r"(\d{10})-[0-9a-f]{8}\.json")
_LOCK = ".lock"
_LEFTOVER_AFTER = 3600.0
"""Seconds after which nobody is still writing a record."""


@dataclass(frozen=True)
class PointsRecord:
    """A record of complete points of a sweep."""

    sweep: str
    cells: CellSet
    labels: Labels = field(default_factory=dict[str, PointLabels])


@dataclass(frozen=True)
class SweepRecord:
    """A record of a sweep's beginning or end; it stays until the end is delivered, so a killed driver leaves it behind."""

    info: SweepInfo
    cells: CellSet
    """All cells of the sweep."""
    ended: bool
    figures: tuple[str, ...] = ()
    """Paths of figures for its page."""
    driver: ProcessIdentity = NOBODY
    """The process that wrote it."""

    @property
    def sweep(self) -> str:
        """The sweep's name."""
        return self.info.name

    @property
    def attended(self) -> bool:
        """Whether its driver is another process, and lives for sure."""
        return self.driver.life is Life.ALIVE and self.driver != ProcessIdentity.here()

    @property
    def orphaned(self) -> bool:
        """Whether its driver ran on this machine and is gone for sure."""
        return self.driver.life is Life.GONE


Record = PointsRecord | SweepRecord


@dataclass(frozen=True)
class _SavedRecord:
    """A record as a file holds it; paths below the output folder are relative to it, so that it may be moved."""

    kind: Literal["points", "sweep"]
    cells: tuple[SavedGroup, ...]
    sweep: str = ""
    """The name of the sweep of a `points` record."""
    labels: dict[str, PointLabels] = field(default_factory=dict[str, PointLabels])
    """Those of a `points` record; a `sweep` record has them in `info`."""
    info: SweepInfo | None = None
    ended: bool = False
    figures: tuple[str, ...] = ()
    host: str = ""
    pid: Count = 0
    driver: ProcessIdentity | None = None
    """None in a record of an earlier version."""

    def __post_init__(self) -> None:
        if self.kind == "sweep" and self.info is None:
            raise ValueError("a record of a sweep has no info")


class Outbox:
    """The records in a folder. Several threads and processes may add without a lock; delivery happens inside `exclusive`."""

    def __init__(self, root: Path) -> None:
        """`root` lies two levels below the output folder."""
        self.root = root
        self._home = root.resolve().parent.parent
        self._last: int | None = None
        self._adding = threading.Lock()

    def add(self, record: Record) -> str:
        """Store a record durably and return its name. Raises WriteError if the disk fails; then there is no record."""
        with self._adding:
            if self._last is None:
                self._last = max((int(name[:10]) for name in self.names()), default=-1)
            final = inside(self.root, f"{self._last + 1:010d}-{uuid.uuid4().hex[:8]}.json")
            write_file(final, to_json(self._saved(record)), durable=True)
            self._last += 1
            return final.name

    def names(self) -> list[str]:
        """Names of the waiting records, in order; empty if there is no folder."""
        with suppress(FileNotFoundError):
            return sorted(file.name for file in self.root.iterdir() if _NAME.fullmatch(file.name))
        return []

    def read(self, name: str) -> Record | None:
        """The record of a name; None if it is gone, or spoilt (then it is set aside: the ledger has its data)."""
        try:
            return self.load(name)
        except FileNotFoundError:
            return None
        except SpoiltFileError as error:
            _log.warning("%s", error)
            with suppress(WriteError):
                set_aside(self.root / name)
            return None

    def _saved(self, record: Record) -> _SavedRecord:
        cells = record.cells.saved()
        if isinstance(record, PointsRecord):
            return _SavedRecord("points", cells, record.sweep, dict(record.labels))
        info = replace(record.info, files=tuple(map(self._below, record.info.files)), usage=self._below(record.info.usage))
        figures = tuple(map(self._below, record.figures))
        driver = record.driver
        return _SavedRecord("sweep", cells, record.sweep, {}, info, record.ended, figures, driver.host, driver.pid, driver)

    def load(self, name: str) -> Record:
        """The record of a name. Raises FileNotFoundError if it is gone, and SpoiltFileError."""
        remedy = "it is set aside, and `grasp sync SWEEP` makes it again from the ledger"
        saved = read_json(self.root / name, _SavedRecord, "a record for MLflow", remedy)
        cells = CellSet.of_saved(saved.cells)
        if saved.info is None:
            return PointsRecord(saved.sweep, cells, saved.labels)
        info = replace(saved.info, files=tuple(map(self._whole, saved.info.files)), usage=self._whole(saved.info.usage))
        driver = saved.driver or ProcessIdentity(saved.host, saved.pid)
        return SweepRecord(info, cells, saved.ended, tuple(map(self._whole, saved.figures)), driver)

    def _below(self, path: str) -> str:
        """A path as it is saved."""
        return os.path.relpath(path, self._home) if Path(path).is_relative_to(self._home) else path

    def _whole(self, path: str) -> str:
        """A path as it was before it was saved."""
        return str(self._home / path) if path else path

    def discard(self, names: Iterable[str]) -> None:
        """Remove delivered records. Raises WriteError if the disk refuses.

        There is no fsync: one that reappears after a power failure is delivered again.
        """
        for name in names:
            try:
                (self.root / name).unlink(missing_ok=True)
            except OSError as error:
                raise write_error(self.root / name, error) from error

    def waiting(self) -> int:
        """Number of points and ends of sweeps that wait."""
        count = 0
        for name in self.names():
            record = self.read(name)
            if isinstance(record, PointsRecord):
                count += len(record.cells.points)
            elif record is not None:
                count += record.ended or record.orphaned
        return count

    @contextmanager
    def exclusive(self) -> Iterator[bool]:
        """Whether this caller may deliver: nobody else does until the block is left or the process dies."""
        lock = self.claim()
        try:
            yield lock is not None
        finally:
            if lock is not None:
                os.close(lock)

    def claim(self) -> int | None:
        """A file descriptor that holds the lock until closed; None if another process holds it. Raises WriteError."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise write_error(self.root / _LOCK, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if isinstance(error, BlockingIOError):
                return None
            raise write_error(self.root / _LOCK, error) from error
        with suppress(OSError):  # a full disk must not stop the delivery
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"host {host()}, pid {os.getpid()}".encode(), 0)
            self._sweep_leftovers(os.fstat(lock).st_mtime)
        return lock

    def lock_holder(self) -> str:
        """Host and pid of the present or last holder of the lock."""
        with suppress(OSError):
            return (self.root / _LOCK).read_text(encoding="utf-8", errors="replace")[:200] or "unknown"
        return "unknown"

    def _sweep_leftovers(self, now: float) -> None:
        """Remove half-written files: of processes that are gone, and old ones, since another process may have their pid now.

        `now` is in the file system's own clock.
        """
        for file in self.root.iterdir():
            if match := TEMPORARY.fullmatch(file.name):
                gone = ProcessIdentity(match[1], int(match[2])).life is Life.GONE
                if gone or now - file.stat().st_mtime > _LEFTOVER_AFTER:
                    file.unlink(missing_ok=True)
