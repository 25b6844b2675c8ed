"""Studies of gradient descent on the plane: quick enough to run many of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator.core.cell import Named, Point, Scalar
from orchestrator.driver.run_cells import Hooks, run_cells
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger
from orchestrator.scheduling.scheduler import Limits, Scheduler
from orchestrator.testing import plane_evaluator, plane_point
from orchestrator.tuning.objectives import Bound, objective
from orchestrator.tuning.optuna_study import OptunaStudy, StudyDefinition
from orchestrator.tuning.pruning import Pruning
from orchestrator.tuning.racing import instances_of
from orchestrator.tuning.samplers import Sampling
from orchestrator.tuning.search_space import space_of
from orchestrator.tuning.tuner import EndedTrial, Tuner, TuningPlan
from orchestrator.workers.backend import InlineBackend
from planners import full_settings
from sweeps.tuning.study_run import RecordedCells

SPACE = {"lr": {"low": 0.001, "high": 1.0, "log": True}, "iterations": {"low": 5, "high": 60}}
SEEDS = tuple(range(20))
MIXED = Limits(max_rows=32, mixed=True)


def base(horizon: int = 8) -> Point:
    return replace(plane_point(horizon), planner=Named.of("gd", full_settings("gd", {"lr": 0.1, "iterations": 20})))


def points_of(*conditions: Point) -> Callable[[Mapping[str, Scalar]], tuple[Point, ...]]:
    def points(settings: Mapping[str, Scalar]) -> tuple[Point, ...]:
        return tuple(
            replace(condition, planner=Named.of("gd", full_settings("gd", condition.planner.as_dict() | dict(settings))))
            for condition in conditions
        )

    return points


def definition(name: str = "study", objectives=("cost",), bounds: tuple[Bound, ...] = (), **space) -> StudyDefinition:
    return StudyDefinition(name, space_of({**SPACE, **space}, "gd"), tuple(objective(each) for each in objectives), bounds)


def open_study(location: str | Path, owner: str = "me", **options) -> OptunaStudy:
    described = options.pop("definition", None) or definition()
    return OptunaStudy(location, described, owner, **options)


class KilledError(Exception):
    """Simulates the death of the driver."""


def run_study(
    study: OptunaStudy,
    ledger: Ledger,
    total: int,
    parallel: int = 4,
    chunk: int = 8,
    conditions: tuple[Point, ...] = (),
    join: str = "mean",
    die_after: int | None = None,
    stop: threading.Event | None = None,
    on_batch: Callable[[BatchResult], None] = lambda result: None,
    limits: Limits = MIXED,
) -> tuple[Tuner, list[EndedTrial]]:
    """Run a study to `total` trials in this process; raises KilledError after `die_after` batches, as if killed there."""
    conditions = conditions or (base(),)
    ended: list[EndedTrial] = []
    stop = stop or threading.Event()
    tuner = Tuner(
        study,
        points_of(*conditions),
        instances_of(len(conditions), SEEDS, 0),
        TuningPlan(total, parallel, chunk, join),
        RecordedCells(ledger),
        stop,
        [ended.append],
    )
    batches = 0

    def on_result(result: BatchResult) -> None:
        nonlocal batches
        batches += 1
        if die_after is not None and batches > die_after:
            raise KilledError
        on_batch(result)
        tuner.on_result(result)

    def on_start(scheduler: Scheduler) -> None:
        tuner.start(scheduler)

    backend = InlineBackend(make_evaluator=plane_evaluator)
    run_cells((), ledger, backend, limits, Hooks(on_start, on_result, stop=stop))
    return tuner, ended


def unpruned() -> Pruning:
    return Pruning(enabled=False)


def at_random(seed: int = 0) -> Sampling:
    return Sampling("random", seed)
