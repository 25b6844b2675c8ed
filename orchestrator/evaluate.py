"""From a batch of cells to results: problems, planning in the model, execution in the simulator, success in both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from orchestrator.artifacts import Artifact, Expectation, Story, draw
from orchestrator.batching import Batch
from orchestrator.cells import OPEN_LOOP, Named, Point, Scalar, check_mode, replan_every
from orchestrator.execution import numpy_of, plan_and_execute
from orchestrator.outcomes import BatchResult, Outcome, failed_batch, one_line, records_of
from orchestrator.provenance import Provenance
from planners import make_planner as _make_planner
from planners.base import Planner
from world_models import checkpoints
from world_models.checkpoints import LoadedModel
from world_models.errors import UserError, require
from world_models.sensors import Sensors
from world_models.tasks import Task
from world_models.tasks import make_task as _make_task
from world_models.tasks.base import check_horizon, pose_of

LoadModel = Callable[[str, str], LoadedModel]
"""(name or path, device) -> model."""
MakeTask = Callable[..., Task]
MakePlanner = Callable[[str, Mapping[str, Scalar]], Planner]
ReadCard = Callable[[str], tuple[Mapping[str, object], str]]

__all__ = ["BatchResult", "Evaluator", "check_point"]

_log = logging.getLogger(__name__)


def check_point(
    point: Point,
    make_task: MakeTask = _make_task,
    make_planner: MakePlanner = _make_planner,
    read_card: ReadCard = checkpoints.read_card,
) -> None:
    """UserError unless the point can be planned: task, planner, settings, horizon, mode, and a model that fits."""
    task = _task_with_problems(make_task, point.task, point.horizon)
    check_mode(point.mode, point.horizon, task.action_block)
    make_planner(point.planner.name, point.planner.as_dict())
    card, digest = read_card(point.model)
    checkpoints.check_fit(card, task.dynamics, task.action_dim * task.action_block)
    checkpoints.check_goal_cost(card, point.goal_cost, point.disagreement)
    Sensors.of(card).check(task, card.get("name"))
    require(
        digest == point.model_digest,
        f"the world model {point.model} has digest {digest}, not {point.model_digest}: it changed; run again.",
    )


@cache
def _task_with_problems(make_task: MakeTask, named: Named, horizon: int) -> Task:
    """The task, once it is known to have a problem at this horizon; a sweep asks for the same ones many times."""
    task = make_task(named.name, **named.as_dict())
    check_horizon(horizon, task.action_block)
    task.problem(0, horizon)
    return task


class Evaluator:
    """Evaluates batches on one device; a world model is loaded once. The makers are arguments for tests."""

    def __init__(
        self,
        device: str = "cpu",
        load_model: LoadModel = checkpoints.load,
        make_task: MakeTask = _make_task,
        make_planner: MakePlanner = _make_planner,
    ) -> None:
        self._device = device
        self._load_model = load_model
        self._make_task = make_task
        self._make_planner = make_planner
        self._models: dict[str, LoadedModel] = {}
        self._tasks: dict[Named, Task] = {}

    def evaluate(self, batch: Batch) -> BatchResult:
        """One record a cell; an exception becomes failed records with one line of error."""
        provenance = Provenance.here(self._device)
        try:
            outcome = self._outcome(batch)
            results = records_of(batch, outcome, provenance)
        # The one place that turns whatever a task, model or planner raises into recorded outcomes.
        except Exception as error:
            _log.warning("a batch of %s failed", batch.point, exc_info=True)
            return failed_batch(batch, one_line(error), provenance)
        return BatchResult(results, _pictures(batch, outcome))

    def _outcome(self, batch: Batch) -> Outcome:
        point = batch.point
        task = self._task(point.task)
        loaded = self._model(point)
        problems = tuple(task.problem(seed, point.horizon) for seed in batch.seeds)
        planner = self._make_planner(point.planner.name, point.planner.as_dict())
        execution = plan_and_execute(task, loaded, planner, problems, batch.seeds, replan_every(point.mode))
        return Outcome(
            task=task,
            problems=problems,
            execution=execution,
            model_poses=_poses(task, loaded, execution.predicted),
            goal_poses=pose_of(task, np.stack([problem.goal for problem in problems])),
        )

    def _task(self, named: Named) -> Task:
        if named not in self._tasks:
            self._tasks[named] = self._make_task(named.name, **named.as_dict())
        return self._tasks[named]

    def _model(self, point: Point) -> LoadedModel:
        """The point's model, loaded when first asked for; UserError when its content is not what the cells were made for."""
        if point.model_digest not in self._models:
            loaded = self._load_model(point.model, self._device)
            if loaded.digest != point.model_digest:
                raise UserError(f"the world model {point.model} changed: digest {loaded.digest}, not {point.model_digest}.")
            self._models[point.model_digest] = loaded
        return self._models[point.model_digest].with_goal_cost(point.goal_cost, point.disagreement)


def _pictures(batch: Batch, outcome: Outcome) -> tuple[Artifact, ...]:
    """A gif and a still of each seed that was asked for. A picture that fails costs the picture, never the result."""
    pictures: list[Artifact] = []
    point, rollout = batch.point, outcome.execution.rollout
    words = [point.task.name, point.planner.name, f"H{point.horizon}", *([] if point.mode == OPEN_LOOP else [point.mode])]
    words += [point.goal_cost] if point.goal_cost else []
    for row, cell in enumerate(batch.cells):
        if cell.seed not in batch.artifact_seeds:
            continue
        story = Story(
            title=" · ".join([*words, f"seed {cell.seed}"]),
            task=outcome.task,
            states=rollout.states[row],
            distance=rollout.distance[row],
            success=bool(rollout.success[row]),
            goal=outcome.problems[row].goal,
            expected=_expectation(outcome, row),
        )
        try:
            pictures.extend(draw(story, cell.cell_id, point.point_id, cell.seed))
        except Exception:
            _log.warning("no picture of cell %s", cell.cell_id, exc_info=True)
    return tuple(pictures)


def _expectation(outcome: Outcome, row: int) -> Expectation | None:
    """What the model expected of a plan, from the start on."""
    if outcome.model_poses is None or outcome.model_distance is None:
        return None
    rollout = outcome.execution.rollout
    return Expectation(
        poses=np.concatenate([pose_of(outcome.task, rollout.states[row, :1]), outcome.model_poses[row]]),
        distance=np.concatenate([rollout.distance[row, :1], outcome.model_distance[row]]),
    )


def _poses(
    task: Task, loaded: LoadedModel, states: Float[Tensor, "batch time *state"]
) -> Float[np.ndarray, "batch time pose"] | None:
    """Poses of model states; None where the model cannot decode them."""
    if loaded.decode is None:
        return None
    with torch.no_grad():
        flat = loaded.decode(states.flatten(0, 1))
    return task.pose(numpy_of(flat).reshape(*states.shape[:2], -1))
