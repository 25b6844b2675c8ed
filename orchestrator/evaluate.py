"""From a batch of cells to results: problems, planning in the model, execution in the simulator, success in both."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from orchestrator.artifacts import Artifact, Story, draw
from orchestrator.batching import Batch
from orchestrator.cells import Named, Point, Scalar
from orchestrator.outcomes import BatchResult, Outcome, failed_batch, one_line, records_of
from orchestrator.provenance import Provenance
from planners import make_planner as _make_planner
from planners.base import ModelProblems, Planner
from world_models import checkpoints
from world_models.base import Context, WorldModel
from world_models.checkpoints import LoadedModel
from world_models.errors import UserError, require
from world_models.tasks import Task, execute
from world_models.tasks import make_task as _make_task
from world_models.tasks.base import check_horizon, pose_of

LoadModel = Callable[[str, str], LoadedModel]
"""(name or path, device) -> model."""
MakeTask = Callable[..., Task]
MakePlanner = Callable[[str, Mapping[str, Scalar]], Planner]
ReadCard = Callable[[str], tuple[Mapping[str, object], str]]

MODES = ("open_loop",)
"""Execution modes."""

__all__ = ["MODES", "BatchResult", "Evaluator", "check_point"]

_log = logging.getLogger(__name__)


def check_point(
    point: Point,
    make_task: MakeTask = _make_task,
    make_planner: MakePlanner = _make_planner,
    read_card: ReadCard = checkpoints.read_card,
) -> None:
    """UserError unless the point can be planned: task, planner, settings, horizon, mode, and a model that fits."""
    require(point.mode in MODES, f"unknown execution mode {point.mode!r}: known are {', '.join(MODES)}.")
    task = _task_with_problems(make_task, point.task, point.horizon)
    make_planner(point.planner.name, point.planner.as_dict())
    card, digest = read_card(point.model)
    checkpoints.check_fit(card, task.dynamics, task.action_dim * task.action_block)
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
        model = loaded.model
        problems = tuple(task.problem(seed, point.horizon) for seed in batch.seeds)
        goals = np.stack([problem.goal for problem in problems])
        start = _encode(model, task.observe(np.stack([problem.start for problem in problems])))
        bound = torch.ones(model.action_dim, dtype=model.dtype, device=model.device)
        posed = ModelProblems(
            context=Context.at(model, start),
            goal=_encode(model, task.observe(goals)),
            steps=point.horizon // task.action_block,
            low=-bound,
            high=bound,
            goal_cost=loaded.goal_cost,
        )
        planner = self._make_planner(point.planner.name, point.planner.as_dict())
        began = time.perf_counter()
        plans = planner.plan(model, posed, batch.seeds)
        # Copying to the host waits for the device, so the time is the planning's.
        flat = _numpy(plans.actions)
        seconds = time.perf_counter() - began
        actions = flat.reshape(len(problems), point.horizon, task.action_dim)
        observations = _decoded(loaded, plans.states)
        return Outcome(
            task=task,
            problems=problems,
            plans=plans,
            actions=actions,
            rollout=execute(task, problems, actions),
            model_poses=task.pose(observations),
            goal_poses=pose_of(task, goals),
            seconds=seconds,
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
        return self._models[point.model_digest]


def _pictures(batch: Batch, outcome: Outcome) -> tuple[Artifact, ...]:
    """A gif and a still of each seed that was asked for. A picture that fails costs the picture, never the result."""
    pictures: list[Artifact] = []
    for row, cell in enumerate(batch.cells):
        if cell.seed not in batch.artifact_seeds:
            continue
        story = Story(
            title=f"{batch.point.task.name} · {batch.point.planner.name} · H{batch.point.horizon} · seed {cell.seed}",
            task=outcome.task,
            states=outcome.rollout.states[row],
            distance=outcome.rollout.distance[row],
            success=bool(outcome.rollout.success[row]),
            goal=outcome.problems[row].goal,
            model_poses=np.concatenate([pose_of(outcome.task, outcome.rollout.states[row, :1]), outcome.model_poses[row]]),
            model_distance=np.concatenate([outcome.rollout.distance[row, :1], outcome.model_distance[row]]),
        )
        try:
            pictures.extend(draw(story, cell.cell_id, batch.point.point_id, cell.seed))
        except Exception:
            _log.warning("no picture of cell %s", cell.cell_id, exc_info=True)
    return tuple(pictures)


def _encode(model: WorldModel, observations: Float[np.ndarray, "batch observation"]) -> Tensor:
    with torch.no_grad():
        return model.encode(torch.as_tensor(observations, dtype=model.dtype, device=model.device))


def _decoded(loaded: LoadedModel, states: Tensor) -> Float[np.ndarray, "batch time observation"]:
    with torch.no_grad():
        flat = loaded.decode(states.flatten(0, 1))
    return _numpy(flat).reshape(*states.shape[:2], -1)


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float64).numpy()
