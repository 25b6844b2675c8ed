"""Evaluation of a batch: problems, planning in the model, execution in the simulator, and success in both."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np

from orchestrator.artifacts.drawing import Drawing, Drawn, draw
from orchestrator.core.batch import Batch
from orchestrator.core.cell import Named, Point
from orchestrator.core.mixing import planner_settings
from orchestrator.core.modes import OPEN_LOOP, ExecutionMode, check_mode
from orchestrator.core.plugin_code import check_code
from orchestrator.core.provenance import Provenance
from orchestrator.core.success import check_rule
from orchestrator.evaluation.contexts import alike, order_of
from orchestrator.evaluation.execution import decoded_states, plan_and_execute
from orchestrator.evaluation.results import BatchResult, ExecutedBatch, ResourceUse, records_of, shares_of
from orchestrator.evaluation.usage import UsageMeter
from orchestrator.ledger.records import CellResult
from orchestrator.workers.devices import MemoryMeter, check_device
from planners import full_settings, knows_planner
from planners import make_planner as _make_planner
from planners.base import Planner
from planners.identity import algorithm_version
from planners.settings import Setting
from world_models.base import RememberingModel
from world_models.checkpoints import store as checkpoints
from world_models.checkpoints.formats import loader_version
from world_models.checkpoints.histories import history_of
from world_models.checkpoints.store import LoadedModel
from world_models.datasets.problems.drawing import RecordedSource
from world_models.datasets.problems.leakage import check_not_trained_on
from world_models.datasets.problems.settings import RecordedProblems
from world_models.errors import UserError, require
from world_models.models.recurrent import HiddenState
from world_models.precision import Arithmetic, arithmetic_of, matmul_precision
from world_models.sensors import Sensors
from world_models.tasks import Problem, Task
from world_models.tasks import make_task as _make_task
from world_models.tasks.base import check_horizon, pose_of
from world_models.tasks.recorded.judging import NoSimulator

LoadModel = Callable[[str, str], LoadedModel]
"""A function from (name or path, device) to the loaded model."""
MakeTask = Callable[..., Task]
MakePlanner = Callable[[str, Mapping[str, Setting]], Planner]
ReadCard = Callable[[str], tuple[Mapping[str, object], str]]

PROBLEMS = 10_000
"""Most problems that a worker caches."""
KEEP = 4
"""Most world models that stay loaded in a worker: those used last."""

__all__ = ["BatchResult", "Evaluator", "check_point"]


def check_point(
    point: Point,
    make_task: MakeTask = _make_task,
    make_planner: MakePlanner = _make_planner,
    read_card: ReadCard = checkpoints.read_card,
) -> None:
    """Raise UserError unless the point can be planned: its task, planner, settings, horizon, mode and model are valid."""
    task = _task_with_problems(make_task, point.task, point.horizon, drawn=point.problems is None)
    check_mode(point.mode, point.horizon, task.action_block)
    check_rule(point.success, point.horizon)
    require(
        point.mode == OPEN_LOOP or not isinstance(task, NoSimulator),
        f"mode {point.mode} replans from states of a simulator, and task {point.task.name} has none: give mode=open_loop.",
    )
    make_planner(point.planner.name, point.planner.as_dict())
    card, digest = read_card(point.model)
    _check_versions(point, task, card)
    checkpoints.check_fit(card, task.dynamics, task.action_dim * task.action_block)
    checkpoints.check_goal_cost(card, point.goal_cost, point.disagreement)
    history_of(card, point.history)
    pictured = point.problems is not None and point.problems.pictures is not None
    # What a replanning model sees later is drawn by the task.
    Sensors.of(card).check(task, card.get("name"), recorded=pictured and point.mode == OPEN_LOOP)
    if point.problems is not None:
        check_not_trained_on(card, point.problems)
    require(
        digest == point.model_digest,
        f"the world model {point.model} has digest {digest}, not {point.model_digest}: it has changed; run again.",
    )


def _check_versions(point: Point, task: Task, card: Mapping[str, object]) -> None:
    """UserError unless this installation has the versions of algorithm, task and loader that the point was made for."""
    found = {
        f"planner {point.planner.name}": (point.algorithm_version, algorithm_version(point.planner.name)),
        f"task {point.task.name}": (point.task_version, task.version),
        f"the loader of world model {point.model}": (point.loader_version, loader_version(card)),
    }
    check_code(point.code, point.task.name, point.planner.name, point.goal_cost)
    for what, (asked, here) in found.items():
        require(asked == here, f"the cells are of version {asked} of {what}, and here is version {here}: run the sweep anew.")


@cache
def _task_with_problems(make_task: MakeTask, named: Named, horizon: int, drawn: bool) -> Task:
    """The task, checked to have a problem at this horizon if it draws them.

    Cached, because a sweep asks for the same tasks many times.
    """
    task = make_task(named.name, **named.as_dict())
    check_horizon(horizon, task.action_block)
    if drawn:
        task.problem(0, horizon)
    return task


class Evaluator:
    """Evaluates batches on one device and keeps world models loaded. Loaders and factories are arguments for tests."""

    def __init__(
        self,
        device: str = "cpu",
        load_model: LoadModel = checkpoints.load,
        make_task: MakeTask = _make_task,
        make_planner: MakePlanner = _make_planner,
        keep: int = KEEP,
    ) -> None:
        """`keep` is how many world models stay loaded. Raises UserError for a missing device."""
        check_device(device)
        self._device = device
        self._keep = keep
        self._meter, self._usage = MemoryMeter(device), UsageMeter(device)
        self._load_model = load_model
        self._make_task = make_task
        self._make_planner = make_planner
        self._models: dict[str, LoadedModel] = {}
        self._loading = 0.0
        """Total seconds spent on loading models."""
        self._tasks: dict[Named, Task] = {}
        self._problems: dict[tuple[object, ...], Problem] = {}
        self._sources: dict[tuple[Named, int, RecordedProblems], RecordedSource] = {}

    def evaluate(self, batch: Batch) -> BatchResult:
        """Evaluate a batch, with one record per cell. Raises what the task, the model and the planner raise."""
        (results, seconds, loading), peak = self._meter.peak_of(lambda: self._evaluated(batch))
        shares = shares_of(batch, [result.evaluations for result in results])
        stamped = tuple(replace(result, worker_seconds=seconds * share) for result, share in zip(results, shares, strict=True))
        return BatchResult(stamped, ResourceUse(seconds, loading, peak, tuple(self._models), self._usage.sample()))

    def draw(self, drawing: Drawing) -> Drawn:
        """Draw recorded cells. Raises what the task and the model raise."""
        began, loaded = time.perf_counter(), self._loading
        point = drawing.point
        loaded_model = self._model(point)
        problems = [self._problem(point, job.seed, loaded_model) for job in drawing.jobs]
        files, troubles = draw(drawing, self._task(point.task), loaded_model, problems)
        seconds = time.perf_counter() - began - (self._loading - loaded)
        return Drawn(drawing, tuple(files), tuple(troubles), seconds)

    def _evaluated(self, batch: Batch) -> tuple[tuple[CellResult, ...], float, float]:
        """The records, the seconds without loading, and the seconds of loading."""
        began, loaded = time.perf_counter(), self._loading
        groups = self._alike(batch)
        results = [result for rows in groups for result in self._results(batch.select(rows))]
        loading = self._loading - loaded
        return tuple(results[row] for row in order_of(groups)), time.perf_counter() - began - loading, loading

    def _results(self, batch: Batch) -> tuple[CellResult, ...]:
        return records_of(batch, self._executed(batch), Provenance.here(self._device))

    def _alike(self, batch: Batch) -> list[list[int]]:
        """The rows of a batch that are planned together; only rows of a dataset know pasts of different lengths."""
        if batch.point.problems is None:
            return [list(range(len(batch.seeds)))]
        loaded = self._model(batch.point)
        return alike([self._problem(batch.point, seed, loaded) for seed in batch.seeds], loaded)

    def _executed(self, batch: Batch) -> ExecutedBatch:
        point = batch.point
        for each in {cell.point for cell in batch.cells if cell.point.code}:
            check_code(each.code, each.task.name, each.planner.name, each.goal_cost)
        task = self._task(point.task)
        loaded = self._model(point)
        problems = tuple(self._problem(point, seed, loaded) for seed in batch.seeds)
        planner = self._make_planner(point.planner.name, planner_settings([cell.point for cell in batch.cells]))
        execution = plan_and_execute(task, loaded, planner, problems, batch.planner_seeds, ExecutionMode.of(point.mode))
        decoded = decoded_states(loaded, execution.predicted)
        return ExecutedBatch(
            task=task,
            problems=problems,
            execution=execution,
            model_poses=None if decoded is None else task.pose(decoded),
            goal_poses=pose_of(task, np.stack([problem.goal for problem in problems])),
            arithmetic=_arithmetic(point, loaded),
        )

    def _problem(self, point: Point, seed: int, loaded: LoadedModel) -> Problem:
        """The problem of a seed, cached because planners share it and a detour around a wall takes 0.2 s to draw.

        A recorded one has the states before its start, and the pictures, that the model sees.
        """
        recorded = point.problems
        size = loaded.sensors.size if loaded.sensors.kind == "pixels" else None
        key = point.task, point.horizon, seed, recorded, None if recorded is None else (_seen(loaded), size)
        if key not in self._problems:
            if len(self._problems) >= PROBLEMS:
                self._problems.clear()
            if recorded is None:
                self._problems[key] = self._task(point.task).problem(seed, point.horizon)
            else:
                self._problems[key] = self._source(point, recorded).problem(seed, _seen(loaded) - 1, size)
        return self._problems[key]

    def _source(self, point: Point, recorded: RecordedProblems) -> RecordedSource:
        key = point.task, point.horizon, recorded
        if key not in self._sources:
            self._sources[key] = RecordedSource.open(self._task(point.task), recorded, point.horizon)
        return self._sources[key]

    def _task(self, named: Named) -> Task:
        if named not in self._tasks:
            self._tasks[named] = self._make_task(named.name, **named.as_dict())
        return self._tasks[named]

    def _model(self, point: Point) -> LoadedModel:
        """The point's model, loaded when first needed. UserError if its content has changed since the cells were made."""
        if point.model_digest in self._models:
            self._models[point.model_digest] = self._models.pop(
                point.model_digest
            )  # move it to the end: the first one is evicted
        else:
            began = time.perf_counter()
            loaded = self._load_model(point.model, self._device)
            self._loading += time.perf_counter() - began
            if loaded.digest != point.model_digest:
                raise UserError(
                    f"the world model {point.model} changed: digest {loaded.digest}, not {point.model_digest}; run again."
                )
            self._models[point.model_digest] = loaded
            for oldest in list(self._models)[: -self._keep]:
                del self._models[oldest]
        loaded = self._models[point.model_digest].with_goal_cost(point.goal_cost, point.disagreement)
        return loaded.with_history(point.history)


def _seen(loaded: LoadedModel) -> int:
    """States that a model sees at a start, that among them: a window, or what warms up the memory that it carries along."""
    model = loaded.model
    if isinstance(model, RememberingModel):
        return 1 + (model.warm_up if isinstance(model, HiddenState) else 0)
    return loaded.history.seen(model)


def _arithmetic(point: Point, loaded: LoadedModel) -> Arithmetic:
    """The kernel and precision of the model under the point's planner; full precision unless the planner chooses."""
    name, model = point.planner.name, loaded.model
    settings = full_settings(name, point.planner.as_dict()) if knows_planner(name) else point.planner.as_dict()
    with matmul_precision(str(settings.get("precision", "highest")), model.device):
        return arithmetic_of(model, model.device, model.dtype)
