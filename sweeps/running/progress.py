"""The live view of a sweep: cells, rate, time left, success so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic, perf_counter

from rich.console import Console

from orchestrator.core.batch import Batch
from orchestrator.core.portion import Portion, count
from orchestrator.scheduling.durations import DurationModel, Estimate, rows_per_batch
from orchestrator.scheduling.scheduler import Scheduler
from orchestrator.workers.backend import Backend
from orchestrator.workers.evaluator import BatchResult
from sweeps.config.grid import Grid
from sweeps.console.display import Display, View
from sweeps.console.events import Progress, SweepEvent
from sweeps.console.terminal import roughly
from sweeps.running.observer import RunObserver

CALM = 50.0
"""Pause between two estimates of the time left, in times that the last one took."""


class Tally(RunObserver):
    """What has come in: counts by point, not by cell, and what the scheduler knows of workers' deaths."""

    def __init__(
        self,
        missing: Sequence[Portion],
        labels: Mapping[str, str],
        durations: DurationModel,
        clock: Callable[[], float] = monotonic,
        recorded_before: int = 0,
    ) -> None:
        """`missing` is what is to come, `labels` are planner labels by point id. `durations` learns from elsewhere.

        `recorded_before` are cells that the ledger had.
        """
        self._left: dict[str, int] = defaultdict(int)
        self._points = {portion.point.point_id: portion.point for portion in missing}
        for portion in missing:
            self._left[portion.point.point_id] += len(portion)
        self._labels = dict(labels)
        self._scheduler: Scheduler | None = None
        self._durations = durations
        self._clock = clock
        self._began = clock()
        self._worker_seconds = 0.0
        self._estimate: Estimate | None = None
        self._estimated = 0.0
        """When the time left is asked for anew."""
        self.recorded_before = recorded_before
        self.total = count(missing)
        self.done = 0
        self.failed = 0
        self.successes: dict[str, list[int]] = {}

    def on_start(self, scheduler: Scheduler, missing: Sequence[Portion]) -> None:
        """The scheduler of the run: it knows retries."""
        self._scheduler = scheduler

    def on_join(self, grid: Grid, fresh: Sequence[Portion]) -> None:
        """Further cells are to come."""
        self._labels.update(labels_of([grid]))
        for portion in fresh:
            self._points[portion.point.point_id] = portion.point
            self._left[portion.point.point_id] += len(portion)
        self.total += count(fresh)

    def start(self) -> None:
        """The clock of rates begins."""
        self._began = self._clock()

    def on_result(self, result: BatchResult) -> None:
        """Count a batch."""
        for record in result.results:
            self.done += 1
            self._left[record.point_id] -= 1
            if record.status == "failed":
                self.failed += 1
                continue
            self._worker_seconds += record.worker_seconds or record.plan_seconds or 0.0
            counts = self.successes.setdefault(self._labels.get(record.point_id, record.planner), [0, 0])
            counts[0] += record.success
            counts[1] += 1

    @property
    def in_flight(self) -> int:
        """Batches that workers have."""
        return 0 if self._scheduler is None else self._scheduler.in_flight

    @property
    def retries(self) -> int:
        """Batches that were handed out again."""
        return 0 if self._scheduler is None else self._scheduler.retries

    @property
    def quarantined(self) -> Sequence[tuple[Batch, str]]:
        """Batches that kept killing their workers, with their last words."""
        return () if self._scheduler is None else self._scheduler.quarantined

    @property
    def seconds(self) -> float:
        """Since it began."""
        return self._clock() - self._began

    @property
    def rate(self) -> float:
        """Cells a second."""
        return self.done / max(self.seconds, 1e-9)

    def time_left(self) -> Estimate | None:
        """Wall seconds to go, by the parallelism seen so far; None before anything is known."""
        if self.done >= self.total:
            return Estimate(0.0, 0.0, 0.0)
        if self._worker_seconds <= 0 or self.seconds <= 0:
            return None
        if self._clock() >= self._estimated:
            began = perf_counter()
            left = ((self._points[point], n, rows_per_batch(n, 64)) for point, n in list(self._left.items()) if n > 0)
            total = self._durations.total(left, today=True)
            scale = self.seconds / self._worker_seconds
            self._estimate = Estimate(total.seconds * scale, total.low * scale, total.high * scale) if total.known else None
            # Of many points it takes a while: never more than a small share of the driver's time.
            self._estimated = self._clock() + CALM * (perf_counter() - began)
        return self._estimate


def labels_of(grids: Iterable[Grid]) -> dict[str, str]:
    """Planner labels by point id."""
    return {entry.point.point_id: entry.planner for grid in grids for entry in grid.entries}


class SweepProgress(Display, RunObserver):
    """Shows a tally: cells done, rate, time left, success so far by planner, workers, failures."""

    def __init__(
        self,
        console: Console,
        tally: Tally,
        backend: Backend,
        view: View = View.LIVE,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(console, backend, view, clock)
        self._tally = tally

    def start(self) -> None:
        """The tally's clock begins."""
        self._tally.start()

    def progress(self) -> tuple[int, int]:
        """Cells."""
        return self._tally.done, self._tally.total

    def on_result(self, result: BatchResult) -> None:
        """Show what the tally has counted."""
        self.refresh()

    def line(self) -> str:
        """One line that says it all."""
        tally = self._tally
        parts = [f"{tally.done}/{tally.total} cells", f"{tally.rate:.1f}/s" if tally.done else "starting"]
        left = tally.time_left()
        if left is not None and left.seconds:
            parts.append(f"{roughly(left)} left")
        parts += [f"{name} {won}/{ran}" for name, (won, ran) in tally.successes.items()]
        parts += self.workers_busy()
        if tally.retries:
            parts.append(f"{tally.retries} retries")
        if tally.quarantined:
            parts.append(f"{len(tally.quarantined)} quarantined")
        if tally.failed:
            parts.append(f"{tally.failed} failed")
        return "  ".join(parts)

    def event(self) -> SweepEvent:
        """The same for machines."""
        tally, left = self._tally, self._tally.time_left()
        workers = self._backend.workers()
        seconds, before = round(tally.seconds, 1), tally.recorded_before
        rounded = None if left is None else (round(left.seconds, 1), round(left.low, 1), round(left.high, 1))
        return SweepEvent(
            Progress("cells", before + tally.done, before + tally.total, seconds, *(rounded or ())),
            done=tally.done,
            total=tally.total,
            failed=tally.failed,
            seconds=seconds,
            rate=round(tally.rate, 2),
            left=rounded,
            successes=tally.successes,
            workers=len(workers),
            busy=sum(worker.batch is not None for worker in workers),
            retries=tally.retries,
            quarantined=len(tally.quarantined),
        )
