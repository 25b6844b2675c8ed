"""The status of a driver, for its own terminal and for `grasp status` elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.core.batch import Batch
from orchestrator.core.portion import Portion
from orchestrator.core.process import ProcessIdentity
from orchestrator.driver.status import Status, StatusWriter, WorkerStatus
from orchestrator.scheduling.durations import DurationModel
from orchestrator.scheduling.scheduler import Scheduler
from orchestrator.workers.backend import Backend
from sweeps.config.grid import Grid
from sweeps.config.outputs import Outputs
from sweeps.running.observer import RunObserver
from sweeps.running.progress import Tally
from sweeps.running.tracking import SweepTracking
from world_models.native.mlp import kernel_words

SHOWN = 20
"""Number of quarantined batches whose last messages are shown; all are in the ledger."""


class DriverStatus(RunObserver):
    """Writes what the driver is doing to a status file per sweep. Read from threads other than the driver's."""

    def __init__(
        self,
        tally: Tally,
        durations: DurationModel,
        backend: Backend,
        trackers: Sequence[SweepTracking],
        grids: Sequence[Grid],
        outputs: Outputs,
        state: Callable[[], str],
    ) -> None:
        self._tally = tally
        self._durations = durations
        self._backend = backend
        self._trackers = trackers
        self._outputs = outputs
        self._state = state
        self._models: dict[str, str] = {}
        self._sweeps: list[str] = []
        self._writer = StatusWriter(self.status)
        for grid in grids:
            self._add(grid)

    def on_start(self, scheduler: Scheduler, missing: Sequence[Portion]) -> None:
        """Start writing the files, which belong to another driver until the ledger is ours."""
        self._writer.start()

    def on_join(self, grid: Grid, fresh: Sequence[Portion]) -> None:
        """Write a file for the joined sweep too."""
        self._add(grid)

    def close(self) -> None:
        """Write once more and stop."""
        self._writer.close()

    def _add(self, grid: Grid) -> None:
        self._sweeps.append(grid.name)
        self._models.update({entry.point.model_digest: entry.point.model for entry in grid.entries})
        self._writer.add_file(self._outputs.sweep(grid.name) / "status.json")

    def seconds_in_flight(self) -> float | None:
        """Rough seconds until the batches in flight end; None if no similar batch was timed."""
        waits = []
        for worker in self._backend.workers():
            if worker.batch is not None:
                estimate = self._durations.batch_seconds(worker.batch.point, len(worker.batch.seeds))
                if estimate.known:
                    waits.append(max(1.0, estimate.seconds - worker.seconds))
        return max(waits, default=None)

    def status(self, beat: int) -> Status:
        """The current status; `beat` counts how often it was written."""
        tally, left, process = self._tally, self._tally.time_left(), ProcessIdentity.here()
        return Status(
            sweeps=tuple(self._sweeps),
            host=process.host,
            pid=process.pid,
            state=self._state(),
            beat=beat,
            seconds=tally.seconds,
            cells=tally.recorded_before + tally.total,
            there=tally.recorded_before,
            done=tally.done,
            failed=tally.failed,
            rate=tally.rate,
            left=None if left is None else left.seconds,
            left_low=None if left is None else left.low,
            left_high=None if left is None else left.high,
            successes={name: (won, ran) for name, (won, ran) in tally.successes.items()},
            in_flight=tally.in_flight,
            retries=tally.retries,
            quarantined=_last_words(tally.quarantined),
            workers=tuple(WorkerStatus.of(worker, self._models) for worker in self._backend.workers()),
            kernel=kernel_words(),
            tracking="; ".join(filter(None, (tracker.waiting for tracker in self._trackers))),
            process=process,
        )


def _last_words(quarantined: Sequence[tuple[Batch, str]]) -> tuple[str, ...]:
    """The last messages of the latest quarantined batches, after the number of earlier ones."""
    before = len(quarantined) - SHOWN
    said = tuple(f"{batch.words}: {words}" for batch, words in quarantined[-SHOWN:])
    return (f"{before} more before these", *said) if before > 0 else said
