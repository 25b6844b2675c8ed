"""What a driver says of itself, to its terminal and to those who look from elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from orchestrator.core.batch import Batch
from orchestrator.core.provenance import host
from orchestrator.driver.status import Status, WorkerStatus
from orchestrator.scheduling.durations import DurationModel
from orchestrator.scheduling.scheduler import Scheduler
from orchestrator.workers.backend import Backend, WorkerView
from sweeps.config.grid import Grid
from sweeps.console.display import words_of
from sweeps.running.progress import Tally
from sweeps.running.tracking import SweepTracking

SHOWN = 20
"""Quarantined cells whose last words are shown; all are in the ledger."""


class DriverStatus:
    """Says what the driver is doing. Read from other threads than the driver's."""

    def __init__(
        self, tally: Tally, durations: DurationModel, backend: Backend, recorded_before: int, trackers: Sequence[SweepTracking]
    ) -> None:
        """`there` are cells that were recorded before."""
        self._tally = tally
        self._durations = durations
        self._backend = backend
        self._recorded_before = recorded_before
        self._trackers = trackers
        self._models: dict[str, str] = {}
        self._sweeps: list[str] = []
        self.scheduler: Scheduler | None = None

    def add(self, grid: Grid) -> None:
        """A sweep that the driver plans."""
        self._sweeps.append(grid.name)
        self._models.update({entry.point.model_digest: entry.point.model for entry in grid.entries})

    @property
    def in_flight(self) -> int:
        """Batches that workers have."""
        return 0 if self.scheduler is None else self.scheduler.in_flight

    def seconds_in_flight(self) -> float | None:
        """How long what is in flight will take, roughly; None when nothing like it was timed."""
        waits = []
        for worker in self._backend.workers():
            if worker.batch is not None:
                estimate = self._durations.batch_seconds(worker.batch.point, len(worker.batch.seeds))
                if estimate.known:
                    waits.append(max(1.0, estimate.seconds - _seconds(worker)))
        return max(waits, default=None)

    def status_source(self, state: Callable[[], str]) -> Callable[[int], Status]:
        """What `StatusWriter` asks: everything, now, by the beat."""

        def status(beat: int) -> Status:
            """What everybody is doing now."""
            tally, scheduler, left = self._tally, self.scheduler, self._tally.time_left()
            return Status(
                sweeps=tuple(self._sweeps),
                host=host(),
                pid=os.getpid(),
                state=state(),
                beat=beat,
                seconds=tally.seconds,
                cells=self._recorded_before + tally.total,
                there=self._recorded_before,
                done=tally.done,
                failed=tally.failed,
                rate=tally.rate,
                left=None if left is None else left.seconds,
                left_low=None if left is None else left.low,
                left_high=None if left is None else left.high,
                successes={name: (won, ran) for name, (won, ran) in tally.successes.items()},
                in_flight=self.in_flight,
                retries=0 if scheduler is None else scheduler.retries,
                quarantined=() if scheduler is None else _last_words(scheduler.quarantined),
                workers=tuple(self._worker(worker) for worker in self._backend.workers()),
                tracking="; ".join(filter(None, (tracker.waiting for tracker in self._trackers))),
            )

        return status

    def _worker(self, worker: WorkerView) -> WorkerStatus:
        models = tuple(self._models.get(model, model) for model in worker.models)
        plans = "" if worker.batch is None else words_of(worker.batch)
        return WorkerStatus(
            worker.name, worker.node, worker.device, models, plans, _seconds(worker), worker.cells, worker.deaths
        )


def _last_words(quarantined: Sequence[tuple[Batch, str]]) -> tuple[str, ...]:
    """Of the latest; of the others how many there are."""
    before = len(quarantined) - SHOWN
    said = tuple(f"{words_of(batch)}: {words}" for batch, words in quarantined[-SHOWN:])
    return (f"{before} cells before these", *said) if before > 0 else said


def _seconds(worker: WorkerView) -> float:
    return time.monotonic() - worker.since
