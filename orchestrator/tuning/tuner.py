"""The driver's side of a study: trials share the workers' batches, and none waits for another.

As results arrive, each trial that has all its requested cells is pruned, finished, or given further cells; for each that ends,
a new one is asked for. Trials of a killed driver continue from the ledger.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from orchestrator.core.cell import Point, Scalar
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.records import CellResult
from orchestrator.scheduling.scheduler import Scheduler
from orchestrator.tuning.objectives import Objective
from orchestrator.tuning.optuna_study import OptunaStudy, Trial
from orchestrator.tuning.racing import Instance, Race
from orchestrator.tuning.trials import State
from world_models.errors import UserError, require

MakePoints = Callable[[Mapping[str, Scalar]], tuple[Point, ...]]
"""Makes a trial's points, one per condition, from its settings. Raises UserError if the settings conflict."""
Recorded = Callable[[Point], Iterable[CellResult]]
"""Gives the ledger's records of a point."""

MOST_REFUSED = 100
"""Refused trials in a row after which the space is."""


@dataclass(frozen=True)
class TuningPlan:
    """How a study is run."""

    total: int
    """Trials of the study, including those of earlier runs and of other drivers."""
    parallel: int
    """Trials under way at the same time."""
    chunk: int = 8
    """Cells that a trial requests at a time if it can be pruned."""
    join: str = "mean"
    """How the values of several conditions are combined: a name of `JOINS`."""
    timed: bool = False
    """Whether seconds are an objective or constrained; a trial's cells are then all requested at once."""

    def __post_init__(self) -> None:
        require(self.total >= 1, f"trials {self.total} is not a valid number of trials: give at least 1.")
        require(self.parallel >= 1, f"parallel {self.parallel} is not a valid number of trials: give at least 1.")
        require(self.chunk >= 1, f"chunk {self.chunk} is not a valid number of cells: give at least 1.")


@dataclass(frozen=True)
class EndedTrial:
    """A trial that has ended, for observers."""

    number: int
    state: State
    values: tuple[float, ...]
    cells: int
    """Its cells that were planned or found in the ledger."""


@dataclass
class StudyProgress:
    """The progress of a study's run."""

    finished: int = 0
    pruned: int = 0
    refused: int = 0
    """Trials whose settings conflict; they are not among the finished ones."""
    cells: int = 0
    """Cells of ended trials."""
    saved: int = 0
    """Cells saved by pruning."""
    best: float | None = None
    """The best value of the first objective among complete trials of this run."""
    under_way: dict[int, Race] = field(default_factory=dict)


class Tuner:
    """Asks for trials, reports their values and prunes them. Call `start` and `on_result` from the driver's thread."""

    def __init__(
        self,
        study: OptunaStudy,
        make_points: MakePoints,
        instances: Sequence[Instance],
        plan: TuningPlan,
        recorded: Recorded,
        stop: threading.Event,
        observers: Sequence[Callable[[EndedTrial], None]] = (),
        progress: StudyProgress | None = None,
    ) -> None:
        """`observers` are told each trial that has ended; `progress` is kept up to date for those who watch."""
        self._study, self._make_points, self._plan = study, make_points, plan
        self._instances = tuple(instances)
        self._recorded, self._stop, self._observers = recorded, stop, observers
        self._objectives: tuple[Objective, ...] = study.definition.objectives
        self._trials: dict[int, Trial] = {}
        self._seen: dict[str, dict[int, CellResult]] = {}
        """Records by point id and seed: those of this run and those found in the ledger."""
        self.progress = progress or StudyProgress()
        self._scheduler: Scheduler | None = None
        self._in_a_row = 0
        """Refused trials since the last that was planned."""

    def start(self, scheduler: Scheduler) -> None:
        """Resume the trials of an earlier run, then ask for as many as may be under way."""
        self._scheduler = scheduler
        for trial in self._study.resume():
            self._begin(trial)
        self._fill()

    def on_result(self, result: BatchResult) -> None:
        """Take the result of a batch that is in the ledger."""
        touched: dict[int, None] = {}
        for record in result.results:
            self._seen.setdefault(record.point_id, {})[record.seed] = record
            for number, race in self.progress.under_way.items():
                if any(point.point_id == record.point_id for point in race.points):
                    race.add(record)
                    touched[number] = None
        waiting = [number for number in touched if self._settle(number)]
        self._fill()
        for number in waiting:
            self._go_on(number)

    def _fill(self) -> None:
        """Ask for trials until enough are under way."""
        while len(self._trials) < self._plan.parallel and not self._stop.is_set():
            trial = self._study.ask(self._plan.total)
            if trial is None:
                return
            self._begin(trial)

    def _begin(self, trial: Trial) -> None:
        try:
            points = self._make_points(trial.settings)
        except UserError as error:
            # Settings that are valid one by one may conflict: the sampler learns to avoid them.
            trial.refuse(str(error))
            self._refused(trial.number, error)
            return
        self._in_a_row = 0
        trial.note(points=[point.point_id for point in points])
        # Known good settings are first, with nothing to compare them with, so all their cells are planned at once.
        whole = self._plan.timed or not self._study.prunes or trial.is_start
        race = Race(points, self._instances, len(self._instances) if whole else min(self._plan.chunk, len(self._instances)))
        for point in points:
            if point.point_id not in self._seen:
                self._seen[point.point_id] = {record.seed: record for record in self._recorded(point)}
            for record in self._seen[point.point_id].values():
                race.add(record)
        self._trials[trial.number], self.progress.under_way[trial.number] = trial, race
        self._advance(trial.number)

    def _refused(self, number: int, error: UserError) -> None:
        """Count a trial whose settings conflict. Raises UserError where nearly all of the space does."""
        self.progress.refused += 1
        self._in_a_row += 1
        if self._in_a_row >= MOST_REFUSED:
            raise UserError(
                f"{MOST_REFUSED} settings of the space were refused in a row, the last because {error} Narrow the space."
            )
        for observer in self._observers:
            observer(EndedTrial(number, State.REFUSED, (), 0))

    def _advance(self, number: int) -> None:
        if self._settle(number):
            self._go_on(number)

    def _settle(self, number: int) -> bool:
        """Request a trial's missing cells, or end it. True if it has all that it requested and has not ended."""
        trial, race = self._trials[number], self.progress.under_way[number]
        if lacking := race.lacking(rank=number):
            assert self._scheduler is not None
            self._scheduler.add(lacking)
            return False
        self._report_scores(trial, race)
        if race.over:
            values = [race.value(objective, self._plan.join) for objective in self._objectives]
            bounds = self._study.definition.bounds
            trial.finish(values, {str(bound): bound.excess(race.value(bound.objective, self._plan.join)) for bound in bounds})
            self._ended(number, State.COMPLETE, values, len(race.records))
            return False
        if trial.should_prune():
            mean = fmean(race.scores(self._objectives[0]).values())
            trial.prune(mean, len(self._instances))
            self.progress.saved += len(self._instances) - len(race.records)
            self._ended(number, State.PRUNED, [mean], len(race.records))
            return False
        return True

    def _go_on(self, number: int) -> None:
        """Request a further chunk of a trial's cells; several if too few trials are left to fill the workers."""
        chunks = self._plan.parallel // max(1, len(self._trials))
        self.progress.under_way[number].request_more(max(1, chunks) * self._plan.chunk)
        self._advance(number)

    def _report_scores(self, trial: Trial, race: Race) -> None:
        if len(self._objectives) == 1:
            scores = race.scores(self._objectives[0])
            trial.report({index: score for index, score in scores.items() if index < race.requested})

    def _ended(self, number: int, state: State, values: Sequence[float], cells: int) -> None:
        self._trials.pop(number, None)
        self.progress.under_way.pop(number, None)
        self.progress.cells += cells
        self.progress.pruned += state is State.PRUNED
        self.progress.finished += 1
        if state is State.COMPLETE:
            best, first = self.progress.best, self._objectives[0]
            self.progress.best = values[0] if best is None or first.better(values[0], best) else best
        for observer in self._observers:
            observer(EndedTrial(number, state, tuple(values), cells))
