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
"""Pause between two estimates of the time left, as a multiple of the last one's duration."""


class Tally(RunObserver):
    """Counts of finished cells by point, with the scheduler's retries and quarantined batches."""

    def __init__(
        self,
        missing: Sequence[Portion],
        labels: Mapping[str, str],
        durations: DurationModel,
        clock: Callable[[], float] = monotonic,
        recorded_before: int = 0,
    ) -> None:
        """`missing` is still to be planned, and `labels` holds planner labels by point id. `durations` is updated elsewhere.

        `recorded_before` is the number of cells that the ledger had before.
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
        """Time at which the time left is estimated again."""
        self.recorded_before = recorded_before
        self.total = count(missing)
        self.done = 0
        self.failed = 0
        self.successes: dict[str, list[int]] = {}

    def on_start(self, scheduler: Scheduler, missing: Sequence[Portion]) -> None:
        """Keep the run's scheduler, which counts retries."""
        self._scheduler = scheduler

    def on_join(self, grid: Grid, fresh: Sequence[Portion]) -> None:
        """Add the cells of a sweep that joined."""
        self._labels.update(labels_of([grid]))
        for portion in fresh:
            self._points[portion.point.point_id] = portion.point
            self._left[portion.point.point_id] += len(portion)
        self.total += count(fresh)

    def start(self) -> None:
        """Start the clock that rates are measured by."""
        self._began = self._clock()

    def on_result(self, result: BatchResult) -> None:
        """Count the results of a batch."""
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
        """Number of batches that workers have."""
        return 0 if self._scheduler is None else self._scheduler.in_flight

    @property
    def retries(self) -> int:
        """Number of batches that were tried again."""
        return 0 if self._scheduler is None else self._scheduler.retries

    @property
    def quarantined(self) -> Sequence[tuple[Batch, str]]:
        """Batches that kept killing their workers, with their last messages."""
        return () if self._scheduler is None else self._scheduler.quarantined

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._began

    @property
    def rate(self) -> float:
        """Cells per second."""
        return self.done / max(self.seconds, 1e-9)

    def time_left(self) -> Estimate | None:
        """Wall-clock seconds to go, given the parallelism so far; None before there is an estimate."""
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
            # With many points the estimate is slow, so it is limited to a small share of the driver's time.
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
        """Start the tally's clock."""
        self._tally.start()

    def progress(self) -> tuple[int, int]:
        """Cells done, and cells in all."""
        return self._tally.done, self._tally.total

    def on_result(self, result: BatchResult) -> None:
        """Show the new counts."""
        self.refresh()

    def line(self) -> str:
        """The progress as one line."""
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
        """The progress for programs."""
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
