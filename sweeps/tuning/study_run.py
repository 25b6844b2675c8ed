"""The run of a study: trials on the workers until the requested number is reached or the run is stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from uuid import uuid4

from rich.console import Console

from orchestrator.core.cell import Point, Scalar, digest
from orchestrator.driver.run_cells import Hooks, RunSummary, run_cells
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import CellResult, from_table
from orchestrator.ledger.seal import DamagedPartError
from orchestrator.scheduling.durations import DurationModel
from orchestrator.scheduling.memory_limits import MemoryLimits
from orchestrator.scheduling.scheduler import Limits, Scheduler
from orchestrator.storage.base import StorageWaitError
from orchestrator.tuning.optuna_study import OptunaStudy
from orchestrator.tuning.trials import State, TrialView
from orchestrator.tuning.tuner import EndedTrial, StudyProgress, Tuner
from sweeps.config.jobs import limits_of, make_backend
from sweeps.config.outputs import Outputs
from sweeps.config.schema.configs import TuneConfig
from sweeps.console.display import View
from sweeps.console.signals import Interrupts, Stop
from sweeps.console.terminal import say, waiting_sentence
from sweeps.tuning.progress import TuneProgress
from sweeps.tuning.spec import StudySpec
from world_models.files.reading import read_text
from world_models.files.writing import write_file

_log = logging.getLogger(__name__)

BEST_OF_OTHERS = 3
"""Trials of another study that a warm start begins with."""


@dataclass
class StudyRun:
    """A run of a study, with its ledger and its storage."""

    spec: StudySpec
    console: Console
    view: View = View.LIVE
    resume_command: str = "grasp tune"
    """The command that resumes the run."""
    observers: Sequence[Callable[[TrialView], None]] = ()
    """Each is called with every trial that ends."""
    stop: Stop = field(default_factory=Stop)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.spec.outputs.ledger)
        self.study = OptunaStudy(
            self.spec.location,
            self.spec.definition,
            driver_id(self.spec.outputs),
            self.spec.sampling,
            self.spec.pruning,
            self.stop,
            lambda words: say(self.console, f"{words}: waiting for it; Ctrl-C stops."),
        )

        if self.study.needs_first_trials:
            for name in self.spec.warm_start:
                self.study.trials_of(name)  # an unknown study is reported before anything starts

    def run(self) -> RunSummary:
        """Plan trials until the study has the requested number; ends early but cleanly on Ctrl-C."""
        spec, durations = self.spec, DurationModel()
        durations.learn_from(self.ledger)
        with ExitStack() as held:
            backend = held.enter_context(make_backend(spec.config.backend))
            spec = self.spec = spec.for_workers(backend.capacity())
            score = StudyProgress()
            progress = TuneProgress(
                self.console, backend, spec.definition.objectives[0], spec.plan.total, self.study.finished(), score, self.view
            )
            recorded = RecordedCells(self.ledger)
            observers = (self._on_end, progress.on_end)
            tuner = Tuner(self.study, spec.points, spec.instances, spec.plan, recorded, self.stop, observers, score)

            def on_start(scheduler: Scheduler) -> None:
                self._begin()
                tuner.start(scheduler)

            def on_result(result: BatchResult) -> None:
                tuner.on_result(result)
                progress.on_result(result)

            def on_wait(error: StorageWaitError) -> None:
                say(self.console, waiting_sentence(error))

            held.enter_context(Interrupts(self.stop, self._stopping, spec.config.grace_seconds))
            held.enter_context(progress)
            return run_cells(
                (),
                self.ledger,
                backend,
                study_limits(spec.config, spec.plan.timed),
                Hooks(on_start, on_result, on_wait, stop=self.stop),
                durations=durations,
                memory_limits=MemoryLimits(spec.outputs.memory_limits),
                config_digest=digest(spec.config_text),
            )

    def _begin(self) -> None:
        """Queue known good settings for a new study and adopt trials of dead drivers; called once the ledger is ours."""
        if self.study.adopt_running(self.spec.adopt):
            say(self.console, "took over trials in progress from other drivers")
        if not self.study.needs_first_trials:
            return
        for entry in self.spec.grid.entries:
            self._enqueue(
                entry.point.planner.as_dict(), f"{self.spec.planner.label}'s own for {entry.task} H{entry.point.horizon}"
            )
        for label, settings in self.spec.starts.items():
            self._enqueue(settings, label)
        for name in self.spec.warm_start:
            for view in best_of(self.study.trials_of(name), self.spec.definition.objectives[0].larger)[:BEST_OF_OTHERS]:
                self._enqueue(view.settings, f"{name}, trial {view.number}")
        self.study.mark_first_trials_queued()

    def _on_end(self, ended: EndedTrial) -> None:
        for observer in self.observers:
            observer(self.study.view(ended.number))

    def _enqueue(self, settings: Mapping[str, Scalar], label: str) -> None:
        """Start with known good settings; values outside the space are reported and left to the sampler."""
        part = self.spec.space.part_of(settings)
        outside = [f"{name} {settings[name]}" for name in self.spec.space.names if name in settings and name not in part]
        if outside:
            say(self.console, f"start {label!r} lies outside the space in {', '.join(outside)}: the sampler picks those")
        self.study.enqueue(part, label)

    def _stopping(self, name: str) -> None:
        said = "" if name == "SIGINT" else f"{name}: "
        say(self.console, f"{said}finishing batches in flight; Ctrl-C again stops at once. Go on with: {self.resume_command}")


class RecordedCells:
    """The ledger's cells of a point; the ledger's list of points is read once, and unknown points are not looked up."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._finished: Mapping[str, object] | None = None

    def __call__(self, point: Point) -> Iterable[CellResult]:
        """The cells of a point, including failed ones; none from a damaged part, with a warning."""
        if self._finished is None:
            self._finished = self._ledger.finished_seeds()
        if point.point_id not in self._finished:
            return ()
        try:
            return from_table(self._ledger.table([point.point_id]))
        except DamagedPartError as error:  # hours may have passed: these cells are planned once more, and recorded anew
            _log.warning("%s", error)
            return ()


def study_limits(config: TuneConfig, timed: bool) -> Limits:
    """Limits for batches of several trials; since more trials always follow, no batch is kept small to share the rest.

    If `timed`, seconds matter, so each trial has its own batches, all of one size.
    """
    limits = limits_of(config)
    return replace(limits, mixed=not timed, even=timed)


def best_of(views: Iterable[TrialView], larger: bool) -> list[TrialView]:
    """Complete trials, feasible ones first, ordered by the first objective, best first."""
    complete = [view for view in views if view.state is State.COMPLETE and view.values]
    return sorted(complete, key=lambda view: (not view.feasible, -view.values[0] if larger else view.values[0], view.number))


def distinct(views: Iterable[TrialView]) -> list[TrialView]:
    """The trials without repeated settings."""
    seen: dict[tuple[tuple[str, Scalar], ...], TrialView] = {}
    for view in views:
        seen.setdefault(tuple(sorted(view.settings.items())), view)
    return list(seen.values())


def driver_id(outputs: Outputs) -> str:
    """The id that all drivers of an output folder share, since only one runs at a time; created once."""
    file = outputs.studies / "driver-id"
    if not file.exists():
        write_file(file, uuid4().hex[:12], durable=True)
    return read_text(file, "a driver's id", "remove it").strip() or "unnamed"
