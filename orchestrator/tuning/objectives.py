"""What a study optimises, computed from ledger records: numbers that are always finite, whatever failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator.ledger.records import CellResult
from planners.base import PlanStatus
from world_models.errors import UnknownNameError, require

WORST_SECONDS = 3600.0
"""What a cell that failed is charged, whatever it took."""
WORST_EVALUATIONS = 1e9
"""The same in model steps."""


def sound(record: CellResult) -> bool:
    """Whether a cell was planned, executed, and stayed finite."""
    return record.status not in ("failed", PlanStatus.NON_FINITE.value) and record.distance is not None


def cost(record: CellResult) -> float:
    """Of a cell, in `[0, 1]`: a half for missing the success test, a half for the distance left, relative to the start's.

    1 for a cell that failed or became non-finite. Continuous, so that a few paired cells tell two planners apart, where
    successes alone would need many.
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
    """A number by cell, its mean by point, and which way is better."""

    name: str
    of: Callable[[CellResult], float]
    larger: bool
    """Whether more is better."""
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
"""Objectives by name: seconds and model steps are of planning, a cell."""


def _worst(values: Sequence[float], objective: Objective) -> float:
    return min(values) if objective.larger else max(values)


def _best(values: Sequence[float], objective: Objective) -> float:
    return max(values) if objective.larger else min(values)


JOINS: Mapping[str, Callable[[Sequence[float], Objective], float]] = {
    "mean": lambda values, objective: fmean(values),
    "worst": _worst,
    "best": _best,
}
"""How one number comes of those of several points: `any` one that does well is enough for `best`."""


def objective(name: str) -> Objective:
    """By name; UnknownNameError with the nearest names."""
    if name not in OBJECTIVES:
        raise UnknownNameError("objective", name, OBJECTIVES)
    return OBJECTIVES[name]


def instance_score(record: CellResult, objective: Objective) -> float:
    """What pruning compares cell by cell: continuous, and better in the objective's own direction."""
    if objective.name == "success":
        return 1.0 - cost(record)
    return objective.of(record)


def joined(by_point: Iterable[Sequence[CellResult]], objective: Objective, join: str) -> float:
    """An objective's value for cells, point by point; UnknownNameError for another way of joining points."""
    if join not in JOINS:
        raise UnknownNameError("way of joining points", join, JOINS)
    means = [fmean(objective.of(record) for record in records) for records in by_point if records]
    require(bool(means), "no cell to judge: this is a defect, please report it.")
    return JOINS[join](means, objective)


@dataclass(frozen=True)
class Bound:
    """A constraint: an objective's value must not be above (or, where more is better, below) a limit."""

    objective: Objective
    limit: float

    def excess(self, value: float) -> float:
        """By how much a value breaks it; 0 or less where it holds."""
        return self.limit - value if self.objective.larger else value - self.limit

    def __str__(self) -> str:
        return f"{self.objective.name} {'>=' if self.objective.larger else '<='} {self.limit:g}"
