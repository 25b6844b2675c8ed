"""The driver of one or several sweeps: one pool of workers plans the missing cells, each once; other drivers may join."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from rich.console import Console

from orchestrator.core.cell import digest
from orchestrator.core.portion import Portion, count
from orchestrator.driver.run_cells import Hooks, RunSummary, run_cells
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.redo import Redo
from orchestrator.scheduling.durations import DurationModel
from orchestrator.scheduling.memory_limits import MemoryLimits
from orchestrator.scheduling.scheduler import Scheduler
from orchestrator.storage.base import StorageWaitError
from sweeps.config.grid import Grid
from sweeps.config.jobs import SweepJob, limits_of, make_backend
from sweeps.config.outputs import Outputs
from sweeps.console.display import View
from sweeps.console.signals import Interrupts, Stop
from sweeps.console.terminal import duration, say, waiting_sentence
from sweeps.running.driver_status import DriverStatus
from sweeps.running.observer import RunObserver
from sweeps.running.progress import SweepProgress, Tally, labels_of
from sweeps.running.second_driver import RequestedSweeps
from sweeps.running.tracking import SweepTracking


@dataclass
class Driver:
    """A run's sweeps, with their ledger, the durations learned, and whether it should stop."""

    jobs: Sequence[SweepJob]
    ledger: Ledger
    console: Console
    view: View = View.LIVE
    redo: Redo = field(default_factory=Redo)
    trackers: Sequence[SweepTracking] = ()
    durations: DurationModel = field(default_factory=DurationModel)
    stop: Stop = field(default_factory=Stop)
    state: str = "planning"
    resume_command: str = "grasp sweep"
    """The command that resumes the run."""

    @property
    def outputs(self) -> Outputs:
        """The output folder, which all sweeps of a run share."""
        return self.jobs[0].outputs

    def run(self, portions: Sequence[Portion], missing: Sequence[Portion]) -> RunSummary:
        """Plan the missing cells of `portions` and draw, with a live view and a status file; ends early but cleanly on Ctrl-C.

        Raises HeldError if another driver holds the ledger; no observer has been notified then.
        """
        config = self.jobs[0].config
        self.durations.learn_from(self.ledger)
        grids = [job.grid for job in self.jobs]
        recorded = count(portions) - count(missing)
        tally = Tally(missing, labels_of(grids), self.durations, recorded_before=recorded)
        with ExitStack() as held:
            backend = held.enter_context(make_backend(config.backend))
            driver_status = DriverStatus(tally, self.durations, backend, self.trackers, grids, self.outputs, lambda: self.state)
            held.callback(driver_status.close)
            progress = SweepProgress(self.console, tally, backend, self.view)
            stopping = partial(self._stopping, tally, driver_status)
            held.enter_context(Interrupts(self.stop, stopping, config.grace_seconds))
            held.enter_context(progress)
            try:
                summary = run_cells(
                    portions,
                    self.ledger,
                    backend,
                    limits_of(config),
                    self._hooks([tally, driver_status, *self.trackers, progress], missing),
                    artifacts=self.outputs.artifacts,
                    durations=self.durations,
                    memory_limits=MemoryLimits(self.outputs.memory_limits),
                    redo=self.redo,
                    config_digest=digest(self.jobs[0].config_text),
                    selection=config.artifacts.selection,
                )
            except BaseException:
                self.state = "stopped"
                raise
            self.state = "stopped" if summary.left else "done"
        return summary

    def _hooks(self, observers: Sequence[RunObserver], missing: Sequence[Portion]) -> Hooks:
        """Hooks that update the state and notify the observers; called only once the ledger is ours."""

        before: list[str] = []  # the state before the storage was waited for

        def on_start(scheduler: Scheduler) -> None:
            self.state = "planning"
            for observer in observers:
                observer.on_start(scheduler, missing)

        def on_result(result: BatchResult) -> None:
            if not self.stop.is_set():
                self.state = "planning"
            for observer in observers:
                observer.on_result(result)

        def on_wait(error: StorageWaitError) -> None:
            before.append(self.state)
            self.state = f"waiting until {error.until}"
            say(self.console, waiting_sentence(error))

        def on_written() -> None:
            if not self.stop.is_set():
                self.state = before[0]
            before.clear()

        def on_join(grid: Grid, fresh: Sequence[Portion]) -> None:
            say(self.console, f"sweep {grid.name} has joined: {count(fresh)} more cells")
            for observer in observers:
                observer.on_join(grid, fresh)

        def on_drawing() -> None:
            if not self.stop.is_set():
                self.state = "drawing"

        requested = RequestedSweeps(self.outputs, self.ledger, missing, on_join, lambda words: say(self.console, words))
        return Hooks(on_start, on_result, on_wait, on_written, requested.take, self.stop, on_drawing)

    def _stopping(self, tally: Tally, driver_status: DriverStatus, name: str) -> None:
        """Print what happens after the first Ctrl-C."""
        self.state = "finishing"
        in_flight = tally.in_flight
        what = f"{in_flight} {'batch' if in_flight == 1 else 'batches'} in flight"
        about = driver_status.seconds_in_flight()
        say(
            self.console,
            f"{'' if name == 'SIGINT' else name + ': '}finishing {what}{f', about {duration(about)}' if about else ''}; "
            f"Ctrl-C again stops at once. Go on with: {self.resume_command}",
        )
