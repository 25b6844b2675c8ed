"""The result of a batch, and its translation into records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import numpy as np
from jaxtyping import Bool, Float

from orchestrator.core.batch import Batch
from orchestrator.core.cell import Cell, canonical
from orchestrator.core.modes import ExecutionMode
from orchestrator.core.provenance import Provenance
from orchestrator.core.success import FINAL, SuccessRule
from orchestrator.evaluation.curves import finite, sampled
from orchestrator.evaluation.execution import Execution
from orchestrator.evaluation.usage import Usage
from orchestrator.ledger.records import IN_MODEL, CellResult
from world_models.history import REPEAT
from world_models.precision import Arithmetic
from world_models.tasks import Problem, Task
from world_models.tasks.recorded.judging import NoSimulator


@dataclass(frozen=True)
class ResourceUse:
    """The time and memory that a batch used on its worker."""

    seconds: float
    """Seconds of planning and simulation; loading a model is not counted."""
    loading: float = 0.0
    """Seconds spent on loading a world model."""
    peak_bytes: int | None = None
    """Peak memory in bytes above what the worker holds anyway; None if unknown."""
    models: tuple[str, ...] = ()
    """Digests of the world models that are now loaded in the worker."""
    usage: Usage | None = None
    """A sample of the worker's processor and GPU usage; most batches have none."""


@dataclass(frozen=True)
class BatchResult:
    """The result of a batch: one record per cell."""

    results: tuple[CellResult, ...]
    resource_use: ResourceUse | None = None
    """Its time and memory; None if unknown, as for records made in the driver."""

    def of(self, worker: str) -> BatchResult:
        """The same result, marked with the backend's name for its worker."""
        if self.resource_use is None or self.resource_use.usage is None:
            return self
        return replace(self, resource_use=replace(self.resource_use, usage=replace(self.resource_use.usage, worker=worker)))


@dataclass(frozen=True)
class BatchFailure:
    """A batch that was not planned because memory ran out or something raised."""

    message: str
    """The error, on one line."""
    out_of_memory: bool = False
    """Whether memory ran out, so that fewer rows may fit."""


@dataclass(frozen=True)
class ExecutedBatch:
    """A planned and executed batch; row i belongs to problem i."""

    task: Task
    problems: tuple[Problem, ...]
    execution: Execution
    model_poses: Float[np.ndarray, "batch time pose"] | None
    """Poses of `execution.predicted`, after each model step; None if the model's states cannot be decoded."""
    goal_poses: Float[np.ndarray, "batch pose"]
    arithmetic: Arithmetic
    """The kernel and precision that computed the model during planning."""

    @property
    def model_distance(self) -> Float[np.ndarray, "batch time"] | None:
        """Distance to the goal as predicted by the model; None if its states cannot be decoded."""
        return None if self.model_poses is None else self.task.distance(self.model_poses, self._goals(self.model_poses))

    @property
    def model_reached(self) -> Bool[np.ndarray, "batch time"] | None:
        """The success test as predicted by the model; None if its states cannot be decoded."""
        return None if self.model_poses is None else self.task.reached(self.model_poses, self._goals(self.model_poses))

    def _goals(self, poses: Float[np.ndarray, "batch time pose"]) -> Float[np.ndarray, "batch time pose"]:
        return np.broadcast_to(self.goal_poses[:, None], poses.shape)


def failed_batch(batch: Batch, error: str, provenance: Provenance, attempts: int = 1) -> BatchResult:
    """A failed record for every cell of the batch; `attempts` is how often the batch was handed to a worker."""
    return BatchResult(
        tuple(
            CellResult(
                **_identity(cell),
                **_circumstances(batch, provenance, attempts),
                problem_kind="",
                status="failed",
                error=error,
                judged=None,
                success=False,
                distance=None,
                start_distance=None,
                predicted_cost=None,
                last_cost=None,
                model_success=None,
                model_distance=None,
                steps_to_success=None,
                first_success=None,
                plan_seconds=None,
                batch_seconds=None,
                evaluations=None,
                costs=(),
                distances=(),
                actions=(),
            )
            for cell in batch.cells
        )
    )


def records_of(batch: Batch, executed: ExecutedBatch, provenance: Provenance) -> tuple[CellResult, ...]:
    """The records of an executed batch."""
    execution, rollout = executed.execution, executed.execution.rollout
    cost, last_cost = execution.cost.tolist(), execution.last_cost.tolist()
    evaluations = execution.evaluations.tolist()
    shares = shares_of(batch, evaluations)
    steps, firsts = rollout.steps_to_success(), rollout.first_success()
    predicted, reached = executed.model_distance, executed.model_reached
    circumstances = _circumstances(batch, provenance, arithmetic=executed.arithmetic)
    succeeded = SuccessRule.of(batch.point.success).succeeded(rollout.reached, ExecutionMode.of(batch.point.mode))
    return tuple(
        CellResult(
            **_identity(cell),
            **circumstances,
            problem_kind=executed.problems[row].kind,
            status=execution.status[row].value,
            error=None,
            judged=IN_MODEL if isinstance(executed.task, NoSimulator) else None,
            success=bool(succeeded[row]),
            distance=_finite(rollout.final_distance[row]),
            start_distance=_finite(rollout.distance[row, 0]),
            predicted_cost=_finite(cost[row]),
            last_cost=_finite(last_cost[row]),
            model_success=None if reached is None else bool(reached[row, -1]),
            model_distance=None if predicted is None else _finite(predicted[row, -1]),
            steps_to_success=steps[row],
            first_success=firsts[row],
            plan_seconds=execution.seconds * shares[row],
            batch_seconds=execution.seconds,
            evaluations=int(evaluations[row]),
            costs=finite(execution.costs[row]),
            distances=sampled(rollout.distance[row]),
            actions=tuple(execution.actions[row].ravel().tolist()),
        )
        for row, cell in enumerate(batch.cells)
    )


def shares_of(batch: Batch, evaluations: Sequence[int | None]) -> list[float]:
    """The share of a batch's seconds that each row is charged: equal shares in a batch of one point.

    In a mixed batch the shares are proportional to the rows' model steps; otherwise a planner that stops early would be
    charged for its neighbours.
    """
    rows = len(evaluations)
    steps = [float(count or 0) for count in evaluations]
    if len(batch.slices) == 1 or not sum(steps):
        return [1 / rows] * rows
    return [step / sum(steps) for step in steps]


def _identity(cell: Cell) -> dict:
    """The fields of a record that identify its cell."""
    point = cell.point
    return {
        "cell_id": cell.cell_id,
        "point_id": point.point_id,
        "task": point.task.name,
        "task_settings": canonical(point.task.as_dict()),
        "model": point.model,
        "model_digest": point.model_digest,
        "planner": point.planner.name,
        "planner_settings": canonical(point.planner.as_dict()),
        "horizon": point.horizon,
        "mode": point.mode,
        "goal_cost": point.goal_cost,
        "disagreement": point.disagreement or None,
        "algorithm_version": point.algorithm_version,
        "task_version": point.task_version,
        "loader_version": point.loader_version,
        "noise_seed": point.noise_seed,
        "code": canonical(dict(point.code)) if point.code else None,
        "history": None if point.history == REPEAT else point.history,
        "success_rule": None if point.success == FINAL else point.success,
        "protocol": point.protocol,
        "problems": None if point.problems is None else canonical(asdict(point.problems)),
        "seed": cell.seed,
    }


def _circumstances(batch: Batch, provenance: Provenance, attempts: int = 1, arithmetic: Arithmetic | None = None) -> dict:
    """The fields of a record that describe how it was made."""
    return {
        "batch_size": len(batch.seeds),
        "worker_seconds": None,
        "attempts": attempts,
        "device": provenance.device,
        "kernel": None if arithmetic is None else arithmetic.kernel,
        "precision": None if arithmetic is None else arithmetic.precision,
        "threads": provenance.threads,
        "host": provenance.host,
        "torch_version": provenance.torch_version,
        "versions": provenance.versions,
        "git_revision": "unknown",
        "config_digest": "",
        "finished_at": datetime.now(UTC),
    }


def _finite(value: float | np.floating) -> float | None:
    return float(value) if math.isfinite(value) else None
