"""Background tracking: a thread that delivers the outbox and keeps MLflow's failures away from the sweep."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.core.portion import Portion
from orchestrator.core.process import ProcessIdentity
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.records import CellResult
from orchestrator.tracking.content.sweep_info import CellSet, SweepInfo
from orchestrator.tracking.failures import RefusedError
from orchestrator.tracking.outbox import PointsRecord, Record, SweepRecord
from orchestrator.tracking.relay import OutboxRelay
from world_models.files.writing import WriteError

_log = logging.getLogger(__name__)

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
"""First and longest pause, in seconds, between attempts to reach a failing store."""

_CURVE_EVERY = 10.0
"""Least seconds between two additions to the curves of the running sweep."""

_GATHER = 2.0
"""Least seconds between two reads of the ledger: points that finish in between are delivered together."""


class BackgroundTracker:
    """Tracks a sweep's beginning, each complete point and the sweep's end, as records of the relay's outbox.

    The thread stores the records durably and delivers them in order while it holds the outbox's lock; another process that
    holds the lock delivers them instead. The sweep waits only in `finish`.
    """

    def __init__(
        self,
        relay: OutboxRelay,
        sweep: SweepInfo,
        portions: Sequence[Portion],
        missing: Sequence[Portion],
        say: Callable[[str], None] | None = None,
        finish_timeout: float = 20.0,
    ) -> None:
        """`portions` are all of the sweep, `missing` those to be planned now.

        `say` is called at once with what a user must fix; `finish_timeout` is how long (seconds) `finish` waits while nothing
        arrives, or half of it if MLflow cannot be reached.
        """
        self._relay = relay
        self._outbox = relay.outbox
        self._sweep = sweep
        self._cells = CellSet.of(portions)
        self._lacking = {portion.point.point_id: len(portion) for portion in missing}
        self._say = say or _log.warning
        self._finish_timeout = finish_timeout
        self._news: queue.SimpleQueue[tuple[CellResult, ...] | SweepRecord | None] = queue.SimpleQueue()
        self._held: list[Record] = []
        """Records that could not be written to disk yet."""
        self._end: str | None = None
        """Name of the record with the sweep's end."""
        self._finishing = self._leaving = False
        self._done = threading.Event()
        self._trouble: Exception | None = None
        self._pause = 0.0
        """Seconds until the next attempt during the present failure."""
        self._arrived = relay.tracker.progress
        """Progress at the last failure: if there is more since, the next attempt comes soon."""
        self._idle = False
        """Whether nothing waits, so that there is nothing to do until news arrive."""
        self._not_before = 0.0
        """Earliest time of the next delivery (monotonic seconds)."""
        self._curve_due = 0.0
        """Earliest time of the next addition to the sweep's curves (monotonic seconds)."""
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self.busy_seconds = 0.0
        """Seconds that the thread has worked, including waits for answers."""

    def start(self) -> None:
        """Record that the sweep has begun; MLflow is opened while the first batches are planned."""
        self._news.put(self._record(self._sweep, [], ended=False))
        self._thread.start()

    def on_result(self, result: BatchResult) -> None:
        """Queue a recorded batch; returns at once."""
        self._news.put(result.results)

    def finish(self, sweep: SweepInfo | None = None, figures: Sequence[Path] = ()) -> str | None:
        """Record the sweep's end and wait while records arrive. None if all have arrived, else one sentence about the rest.

        `sweep` replaces the description, because its headline is only known at the end.
        """
        if self._thread.ident is None:
            self.start()
        self._finishing = True
        self._news.put(self._record(sweep or self._sweep, [str(figure.resolve()) for figure in figures], ended=True))
        arrived, since = self._relay.tracker.progress, time.monotonic()
        while not self._done.wait(0.05) and self._thread.is_alive():
            if self._relay.tracker.progress != arrived:
                arrived, since = self._relay.tracker.progress, time.monotonic()
            timeout = self._finish_timeout / 2 if self._trouble else self._finish_timeout
            if isinstance(self._trouble, RefusedError) or time.monotonic() - since > timeout:
                break
        self._leaving = True
        self._news.put(None)
        if self._done.is_set():
            self._thread.join()
        return self._sentence()

    def _record(self, sweep: SweepInfo, figures: Sequence[str], ended: bool) -> SweepRecord:
        return SweepRecord(sweep, self._cells, ended, tuple(figures), ProcessIdentity.here())

    def _sentence(self) -> str | None:
        where, refused = self._relay.tracker.tracking_store.masked_uri, self._relay.refused
        if self._done.is_set():
            return f"{len(refused)} points were refused ({refused[0]}); the ledger has them." if refused else None
        count = self._outbox.waiting() + len(self._held)
        reason = (
            str(self._trouble)
            if self._trouble
            else f"MLflow at {where} is slow, or being written by {self._outbox.lock_holder()}"
        )
        return f"{count} records wait for MLflow ({reason}); nothing is lost: `grasp sync` or the next run writes them."

    def _work(self) -> None:
        """The thread's loop: accept news, store them durably, deliver and rest, longer after each failure."""
        lock: int | None = None
        try:
            while not self._leaving:
                self._accept()
                with self._surviving():
                    lock = lock if lock is not None else self._outbox.claim()
                    began = time.perf_counter()
                    delivered = lock is not None and self._deliver()
                    if delivered and not self._finishing and time.monotonic() > self._curve_due:
                        self._relay.log_curve(self._sweep.name, self._cells)
                        self._curve_due = time.monotonic() + max(_CURVE_EVERY, 50 * self._relay.read_seconds)
                    self.busy_seconds += time.perf_counter() - began
                    self._trouble, self._pause = None, 0.0
                    self._idle = lock is not None and not delivered
                    rest = 0.0 if self._finishing and lock is not None else max(_GATHER, 20 * self._relay.read_seconds)
                    self._not_before = time.monotonic() + rest
                    self._look()
        finally:
            if lock is not None:
                os.close(lock)

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """Log whatever tracking raises and schedule a retry; the sweep continues."""
        try:
            yield
        except Exception as error:
            if isinstance(error, RefusedError) and not isinstance(self._trouble, RefusedError):
                self._say(f"{error}; planning continues, and records wait.")
            # Not as `exc_info`, because MLflow's error may quote the address with its password.
            words = traceback.format_exc() if self._trouble is None else str(error)
            _log.warning("tracking: %s", self._relay.tracker.tracking_store.scrub(words))
            self._trouble = error
            arrived, self._arrived = self._arrived, self._relay.tracker.progress
            self._pause = min(_LONGEST_WAIT, 2 * self._pause or _FIRST_WAIT) if arrived == self._arrived else _FIRST_WAIT
            self._not_before = time.monotonic() + self._pause

    def _accept(self) -> None:
        """Store news durably until it is time to deliver."""
        while not self._leaving and (self._idle or time.monotonic() < self._not_before):
            records = self._gathered(3600.0 if self._idle else max(0.0, self._not_before - time.monotonic()))
            self._held += records
            self._keep()
            self._idle = self._idle and not records
            if any(isinstance(record, SweepRecord) for record in records):
                self._not_before = time.monotonic()

    def _gathered(self, wait: float) -> list[Record]:
        """The records of all news that arrive first within `wait` seconds, with points merged."""
        records: list[Record] = []
        points: list[str] = []
        try:
            item = self._news.get(timeout=wait)
            while True:
                if isinstance(item, tuple):
                    points += self._completed(item)
                elif item is not None:
                    records += self._points(points)
                    records.append(item)
                    points = []
                item = self._news.get_nowait()
        except queue.Empty:
            pass
        return records + self._points(points)

    def _points(self, points: Sequence[str]) -> list[Record]:
        """The record of these points; none without points."""
        if not points:
            return []
        return [PointsRecord(self._sweep.name, self._cells.restricted_to(points), self._sweep.labels_of(points))]

    def _completed(self, results: tuple[CellResult, ...]) -> list[str]:
        """Ids of the points that these cells complete."""
        self._relay.recent.add([result for result in results if result.point_id in self._lacking])
        points = []
        for result in results:
            left = self._lacking.get(result.point_id)
            if left is not None:
                self._lacking[result.point_id] = left - 1
                points += [result.point_id] if left == 1 else []
        return points

    def _keep(self) -> None:
        """Write held records to the outbox; those that the disk refuses stay held for a retry."""
        try:
            while self._held:
                name = self._outbox.add(self._held[0])
                record = self._held.pop(0)
                if isinstance(record, SweepRecord) and record.ended:
                    self._end = name
        except WriteError as error:
            _log.warning("%s The ledger has everything.", error)

    def _deliver(self) -> bool:
        """Deliver the first waiting record: from disk, then from those that the disk refused."""
        if self._relay.deliver_next(lambda record: record.orphaned and record.sweep != self._sweep.name):
            return True
        if not self._held:
            return False
        record = self._held[0]
        self._relay.deliver(record)
        self._held.pop(0)
        if isinstance(record, SweepRecord) and record.ended:
            self._done.set()
        return True

    def _look(self) -> None:
        """Check whether the sweep's end has been delivered, by any process."""
        if self._end is not None and self._end not in self._outbox.names():
            self._done.set()
