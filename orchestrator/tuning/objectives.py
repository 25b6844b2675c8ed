"""The objectives of a study, computed from ledger records: always finite, even for failed cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator.ledger.records import CellResult
from planners.base import PlanStatus
from world_models.errors import UnknownNameError, require

WORST_SECONDS = 3600.0
"""Seconds that a failed cell is charged."""
WORST_EVALUATIONS = 1e9
"""Model steps that a failed cell is charged."""


def sound(record: CellResult) -> bool:
    """Whether a cell was planned and executed, and stayed finite."""
    return record.status not in ("failed", PlanStatus.NON_FINITE.value) and record.distance is not None


def cost(record: CellResult) -> float:
    """A cell's cost in `[0, 1]`: a half for failing the success test, and a half times the share of the distance left.

    It is 1 for a cell that failed or became non-finite. It is continuous, so that a few paired cells tell two planners apart
    where successes alone would need many.
    """
    if not sound(record) or record.distance is None:
        return 1.0
    start = record.start_distance or 0.0
    left = min(1.0, record.distance / start) if start > 0 else float(not record.success)
    return 0.5 * (not record.success) + 0.5 * left


def _success(record: CellResult) -> float:
    return float(record.success and sound(record))


def _seconds(record: CellResult) -> float:
    return record.plan_seconds if sound(record) and record.plan_seconds is not None else WORST_SECONDS


def _evaluations(record: CellResult) -> float:
    return float(record.evaluations) if sound(record) and record.evaluations is not None else WORST_EVALUATIONS


@dataclass(frozen=True)
class Objective:
    """A number per cell, averaged per point, and the direction that is better."""

    name: str
    of: Callable[[CellResult], float]
    larger: bool
    """Whether larger values are better."""
    unit: str = ""

    def better(self, left: float, right: float) -> bool:
        """Whether `left` is better than `right`."""
        return left > right if self.larger else left < right


OBJECTIVES: Mapping[str, Objective] = {
    "cost": Objective("cost", cost, larger=False),
    "success": Objective("success", _success, larger=True),
    "seconds": Objective("seconds", _seconds, larger=False, unit="s"),
    "evaluations": Objective("evaluations", _evaluations, larger=False, unit="model steps"),
}
"""Objectives by name; seconds and model steps count planning, per cell."""


def _worst(values: Sequence[float], objective: Objective) -> float:
    return min(values) if objective.larger else max(values)


def _best(values: Sequence[float], objective: Objective) -> float:
    return max(values) if objective.larger else min(values)


JOINS: Mapping[str, Callable[[Sequence[float], Objective], float]] = {
    "mean": lambda values, objective: fmean(values),
    "worst": _worst,
    "best": _best,
}
"""Ways to combine the values of several points into one; for `best`, one good point is enough."""


def objective(name: str) -> Objective:
    """The objective of a name. Raises UnknownNameError with the nearest names."""
    if name not in OBJECTIVES:
        raise UnknownNameError("objective", name, OBJECTIVES)
    return OBJECTIVES[name]


def instance_score(record: CellResult, objective: Objective) -> float:
    """The score of a cell that pruning compares: continuous, and better in the objective's own direction."""
    if objective.name == "success":
        return 1.0 - cost(record)
    return objective.of(record)


def joined(by_point: Iterable[Sequence[CellResult]], objective: Objective, join: str) -> float:
    """An objective's value for the cells of each point. Raises UnknownNameError for an unknown way of joining points."""
    if join not in JOINS:
        raise UnknownNameError("way of joining points", join, JOINS)
    means = [fmean(objective.of(record) for record in records) for records in by_point if records]
    require(bool(means), "there is no cell to judge: this is a bug, please report it.")
    return JOINS[join](means, objective)


@dataclass(frozen=True)
class Bound:
    """A constraint: an objective's value must not be above (or, where more is better, below) a limit."""

    objective: Objective
    limit: float

    def excess(self, value: float) -> float:
        """The amount by which a value violates the constraint; 0 or less if it holds."""
        return self.limit - value if self.objective.larger else value - self.limit

    def __str__(self) -> str:
        return f"{self.objective.name} {'>=' if self.objective.larger else '<='} {self.limit:g}"
