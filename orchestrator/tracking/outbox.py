"""The outbox: records still to be written to MLflow, as small files in one folder, delivered in order by one process at a time.

A record says what to write ("these points of this sweep are complete") without the data, which is in the ledger. So records
stay small, and delivering one twice is harmless. Each is written to a temporary name, fsynced and renamed: it exists whole or
not at all. Records of one writer keep their order; records of different processes have no order between them.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.core.provenance import host
from orchestrator.tracking.sweep_info import CellSet, SweepInfo

_log = logging.getLogger(__name__)

_NAME = re.compile(r"(\d{10})-[0-9a-f]{8}\.json")
_TEMPORARY = re.compile(r"\.(.+)-(\d+)-[0-9a-f]{8}\.tmp")
_LOCK = ".lock"


@dataclass(frozen=True)
class PointsRecord:
    """A record of complete points of a sweep."""

    sweep: str
    cells: CellSet

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": "points", "sweep": self.sweep, "cells": self.cells.to_json()}


@dataclass(frozen=True)
class SweepRecord:
    """A record of a sweep's beginning or end; it stays until the end is delivered, so a killed driver leaves it behind."""

    info: SweepInfo
    cells: CellSet
    """All cells of the sweep."""
    ended: bool
    figures: tuple[str, ...] = ()
    """Paths of figures for its page."""
    host: str = ""
    pid: int = 0
    """Process id of the driver."""

    @property
    def sweep(self) -> str:
        """The sweep's name."""
        return self.info.name

    @property
    def attended(self) -> bool:
        """Whether its driver is another, living process of this machine."""
        return self.host == host() and self.pid != os.getpid() and alive(self.pid)

    @property
    def orphaned(self) -> bool:
        """Whether its driver ran on this machine and is gone."""
        return self.host == host() and not alive(self.pid)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain = {"kind": "sweep", "info": asdict(self.info), "cells": self.cells.to_json(), "ended": self.ended}
        return {**plain, "figures": list(self.figures), "host": self.host, "pid": self.pid}


Record = PointsRecord | SweepRecord


class Outbox:
    """The records in a folder. Several threads and processes may add without a lock; delivery happens inside `exclusive`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._last: int | None = None
        self._adding = threading.Lock()

    def add(self, record: Record) -> str:
        """Store a record durably and return its name. Raises OSError if the disk fails; then there is no record."""
        with self._adding:
            self.root.mkdir(parents=True, exist_ok=True)
            if self._last is None:
                self._last = max((int(name[:10]) for name in self.names()), default=-1)
            unique = uuid.uuid4().hex[:8]
            temporary = self.root / f".{host()}-{os.getpid()}-{unique}.tmp"
            final = self.root / f"{self._last + 1:010d}-{unique}.json"
            _write_durably(json.dumps(record.to_json()).encode(), temporary, final)
            self._last += 1
            return final.name

    def names(self) -> list[str]:
        """Names of the waiting records, in order; empty if there is no folder."""
        with suppress(FileNotFoundError):
            return sorted(file.name for file in self.root.iterdir() if _NAME.fullmatch(file.name))
        return []

    def read(self, name: str) -> Record | None:
        """The record of a name; None if it is gone or cannot be parsed (then it is removed)."""
        file = self.root / name
        try:
            return _parsed(json.loads(file.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            _log.warning("the record %s cannot be parsed and is removed: the ledger has its data", file, exc_info=True)
            self.discard([name])
            return None

    def discard(self, names: Iterable[str]) -> None:
        """Remove delivered records. There is no fsync: one that reappears after a power failure is delivered again."""
        for name in names:
            (self.root / name).unlink(missing_ok=True)

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
        """A file descriptor that holds the lock until closed; None if another process holds it. OSError as from `open`."""
        self.root.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if isinstance(error, BlockingIOError):
                return None
            raise
        with suppress(OSError):  # a full disk must not stop the delivery
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"host {host()}, pid {os.getpid()}".encode(), 0)
            self._sweep_leftovers()
        return lock

    def lock_holder(self) -> str:
        """Host and pid of the present or last holder of the lock."""
        with suppress(OSError):
            return (self.root / _LOCK).read_text(errors="replace")[:200] or "unknown"
        return "unknown"

    def _sweep_leftovers(self) -> None:
        """Remove half-written files of killed processes."""
        for file in self.root.iterdir():
            match = _TEMPORARY.fullmatch(file.name)
            if match and match[1] == host() and not alive(int(match[2])):
                file.unlink(missing_ok=True)


def alive(pid: int) -> bool:
    """Whether a process of this machine exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _parsed(raw: Mapping[str, Any]) -> Record:
    if raw["kind"] == "points":
        return PointsRecord(raw["sweep"], CellSet.from_json(raw["cells"]))
    if raw["kind"] == "sweep":
        info = SweepInfo.from_json(raw["info"])
        return SweepRecord(
            info, CellSet.from_json(raw["cells"]), raw["ended"], tuple(raw["figures"]), str(raw["host"]), int(raw["pid"])
        )
    raise ValueError(f"unknown kind {raw['kind']!r}")


def _write_durably(data: bytes, temporary: Path, final: Path) -> None:
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(final)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
