"""A lock for stores without locks: an object that names its holder, and a beat that grows while the holder lives.

No clocks are compared: whoever wants a lease that is held watches whether its beat changes. A lease is weaker than a lock:
a holder that sleeps for longer than `Pace.stale` may have lost it, and finds out before it writes (`check`); between
that check and its write another may write too. The ledger tolerates that: parts have unique names, and a cell counts once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from orchestrator.storage.locks import Holder, held_error, lost_error
from world_models.errors import UserError

_LEASE = ".lease"

_log = logging.getLogger(__name__)


@runtime_checkable
class Objects(Protocol):
    """The operations that a lease needs of a store."""

    @property
    def where(self) -> str:
        """The store's name in messages."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a whole object."""
        ...

    def read(self, name: str) -> bytes:
        """The contents of an object. Raises FileNotFoundError if there is none."""
        ...


@dataclass(frozen=True)
class Pace:
    """The timing of a lease in seconds, by this machine's own monotonic clock."""

    beat: float = 2.0
    """Seconds between two beats."""
    stale: float = 15.0
    """Seconds without a change of beat after which a lease is taken over."""
    settle: float = 2.0
    """Seconds from writing the lease to checking whether another driver wrote it too; no request may take longer."""


class Lease:
    """A lease on a folder of a store."""

    def __init__(self, store: Objects, pace: Pace | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._store = store
        self._pace = pace or Pace()
        self._sleep = sleep
        self._mine = Holder.here()
        self._confirmed = 0.0
        """When the store last confirmed that this holder has the lease."""
        self._ended = threading.Event()
        self._beating: threading.Thread | None = None
        self._taker: Holder | None = None
        self._lost = False

    def acquire(self) -> None:
        """Take the lease in `settle` seconds, up to `stale` more after a dead driver. UserError names another holder."""
        found = self._written()
        if found is not None and found.alive and self._beats(found, self._pace.stale):
            raise held_error(found, self._store.where)
        self._write()
        self._sleep(self._pace.settle)
        now = self._written()
        if now is None or now.token != self._mine.token:
            raise held_error(now, self._store.where)
        self._confirmed = time.monotonic()
        self._beating = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._beating.start()

    def check(self) -> None:
        """Raise UserError if another holder has taken the lease. Asks the store only if the last beat is long ago."""
        if not self._lost and time.monotonic() - self._confirmed > self._pace.stale / 2:
            self._confirm()
        if self._lost:
            raise lost_error(self._taker, self._store.where)

    def release(self) -> None:
        """Mark the lease as free, unless another holder has it."""
        if self._beating is None:
            return
        self._ended.set()
        self._beating.join()
        self._beating = None
        try:
            self._confirm()
            if not self._lost:
                self._mine = replace(self._mine, alive=False)
                self._write()
        except UserError:
            _log.warning("the lease of %s was not released; it will be found stale", self._store.where, exc_info=True)

    def holder(self) -> Holder | None:
        """The present or last holder. Takes some seconds, because it watches the beat."""
        found = self._written()
        if found is None or not found.alive:
            return found
        return replace(found, alive=self._beats(found, 3 * self._pace.beat))

    def _beat(self) -> None:
        while not self._ended.wait(self._pace.beat):
            try:
                self._confirm()
                if self._lost:
                    return
                self._mine = replace(self._mine, beat=self._mine.beat + 1)
                self._write()
            except UserError:  # the store may answer again at the next beat
                _log.warning("the lease of %s could not be renewed", self._store.where, exc_info=True)

    def _confirm(self) -> None:
        started = time.monotonic()
        found = self._written()
        if found is not None and found.token == self._mine.token:
            self._confirmed = started
        else:
            self._taker, self._lost = found, True

    def _beats(self, found: Holder, seconds: float) -> bool:
        """Whether the lease changes within so many seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._sleep(min(self._pace.beat / 2, seconds))
            now = self._written()
            if now is None or not now.alive:
                return False
            if (now.token, now.beat) != (found.token, found.beat):
                return True
        return False

    def _written(self) -> Holder | None:
        try:
            return Holder.of_json(self._store.read(_LEASE).decode(errors="replace"))
        except FileNotFoundError:
            return None

    def _write(self) -> None:
        self._store.write(_LEASE, self._mine.to_json().encode())
