"""The driver of one or several sweeps: one pool plans what they lack, each cell once, while others may look and join."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from rich.console import Console

from orchestrator.core.cell import digest
from orchestrator.core.portion import Portion, count
from orchestrator.driver.run_cells import Hooks, RunSummary, run_cells
from orchestrator.driver.status import StatusWriter
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger
from orchestrator.scheduling.durations import DurationModel
from orchestrator.scheduling.memory_limits import MemoryLimits
from orchestrator.scheduling.scheduler import Scheduler
from sweeps.config.grid import Grid
from sweeps.config.jobs import Job, artifact_selection_of, grace_of, limits_of, make_backend
from sweeps.config.outputs import Outputs
from sweeps.console.display import View
from sweeps.console.signals import Interrupts
from sweeps.console.terminal import duration, say
from sweeps.running.driver_status import DriverStatus
from sweeps.running.progress import SweepProgress, Tally
from sweeps.running.second_driver import RequestedSweeps
from sweeps.running.tracking import SweepTracking
from world_models.errors import UserError


@dataclass
class Driver:
    """What a run shares: its sweeps, their ledger, what was learnt, and whether it should stop."""

    jobs: Sequence[Job]
    ledger: Ledger
    console: Console
    view: View = View.LIVE
    retry_failed: bool = False
    durations: DurationModel = field(default_factory=DurationModel)
    stop: threading.Event = field(default_factory=threading.Event)
    state: str = "planning"
    resume_command: str = "grasp sweep"
    """The command that goes on."""

    @property
    def outputs(self) -> Outputs:
        """All sweeps of a run share one folder."""
        return self.jobs[0].outputs

    def run(self, portions: Sequence[Portion], missing: Sequence[Portion], trackers: Sequence[SweepTracking]) -> RunSummary:
        """Plan what is missing of `portions`, and draw, with a live view and a status file; ends early, and well, after Ctrl-C.

        Raises HeldError when another driver has the ledger; nothing has been told to anybody then.
        """
        values = self.jobs[0].values
        self.durations.learn_from(self.ledger)
        tally = Tally(missing, {}, self.durations)
        with ExitStack() as held:
            backend = held.enter_context(make_backend(values["backend"]))
            driver_status = DriverStatus(tally, self.durations, backend, count(portions) - count(missing), trackers)
            files = StatusWriter(driver_status.status_source(lambda: self.state))
            held.callback(files.close)
            observers = Observers(tally, driver_status, files, SweepProgress(self.console, tally, backend, self.view))
            held.enter_context(Interrupts(self.stop, lambda name: self._stopping(name, driver_status), grace_of(values)))
            held.enter_context(observers.progress)
            try:
                summary = run_cells(
                    portions,
                    self.ledger,
                    backend,
                    limits_of(values),
                    self._hooks(observers, missing, trackers),
                    artifacts=self.outputs.artifacts,
                    durations=self.durations,
                    memory_limits=MemoryLimits(self.outputs.memory_limits),
                    retry_failed=self.retry_failed,
                    config_digest=digest(self.jobs[0].config_text),
                    selection=artifact_selection_of(values),
                )
            except BaseException:
                self.state = "stopped"
                raise
            self.state = "stopped" if summary.left else "done"
        return summary

    def _hooks(self, observers: Observers, missing: Sequence[Portion], trackers: Sequence[SweepTracking]) -> Hooks:
        """What is done when; all of it once the ledger is ours."""

        def on_start(scheduler: Scheduler) -> None:
            """Planning begins: everything that watches it is told what is missing."""
            self.state = "planning"
            observers.driver_status.scheduler = scheduler
            observers.progress.on_start(scheduler)
            for job in self.jobs:
                observers.add(job.grid, self.outputs)
            observers.files.start()
            for tracker in trackers:
                tracker.start(missing)

        def on_result(result: BatchResult) -> None:
            """Cells are in the ledger: count them, and track the points that they complete."""
            if not self.stop.is_set():
                self.state = "planning"
            for tracker in trackers:
                tracker.on_result(result)
            observers.tally.on_result(result)
            observers.progress.refresh()

        def on_full(error: UserError) -> None:
            if self.state != "waiting for disk":
                self.state = "waiting for disk"
                say(self.console, f"{error} Planning waits until there is room; Ctrl-C stops.")

        def on_join(grid: Grid, fresh: Sequence[Portion]) -> None:
            say(self.console, f"sweep {grid.name} has joined: {count(fresh)} more cells")
            observers.tally.join(fresh)
            observers.add(grid, self.outputs)

        def on_drawing() -> None:
            if not self.stop.is_set():
                self.state = "drawing"

        requested = RequestedSweeps(self.outputs, self.ledger, missing, on_join, lambda words: say(self.console, words))
        return Hooks(on_start, on_result, on_full, requested.take, self.stop, on_drawing)

    def _stopping(self, name: str, driver_status: DriverStatus) -> None:
        """What is said after the first Ctrl-C."""
        self.state = "finishing"
        in_flight = driver_status.in_flight
        what = f"{in_flight} {'batch' if in_flight == 1 else 'batches'} in flight"
        about = driver_status.seconds_in_flight()
        say(
            self.console,
            f"{'' if name == 'SIGINT' else name + ': '}finishing {what}{f', about {duration(about)}' if about else ''}; "
            f"Ctrl-C again stops at once. Go on with: {self.resume_command}",
        )


@dataclass(frozen=True)
class Observers:
    """Those who watch a run."""

    tally: Tally
    driver_status: DriverStatus
    files: StatusWriter
    progress: SweepProgress

    def add(self, grid: Grid, outputs: Outputs) -> None:
        """A sweep that is planned."""
        self.tally.labels.update({entry.point.point_id: entry.planner for entry in grid.entries})
        self.driver_status.add(grid)
        self.files.add_file(outputs.sweep(grid.name) / "status.json")
