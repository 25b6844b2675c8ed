"""Mixing of points in a batch: allowed for those whose planners differ only in settings that may vary by row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from orchestrator.core.cell import Point, Scalar, digest
from orchestrator.core.success import FINAL
from planners import knows_planner, row_settings, stacked_settings
from planners.settings import Setting
from world_models.history import REPEAT


@lru_cache(maxsize=100_000)
def kind_of(point: Point) -> str:
    """The point's kind.

    Points of one kind have task, world model, horizon, mode, history and all settings that must agree in common.
    """
    # Nothing is known about the settings of a planner that only the evaluator can make, so all must agree.
    by_row = row_settings(point.planner.name) if knows_planner(point.planner.name) else ()
    # None selects another algorithm, so rows with None and rows with a number do not mix.
    settings = {name: (value is None) if name in by_row else value for name, value in point.planner.settings}
    execution = [point.mode, point.goal_cost, point.disagreement, *([] if point.history == REPEAT else [point.history])]
    execution += [] if point.success == FINAL else [point.success]
    task = [point.task.name, point.task.as_dict()]
    task += [] if point.problems is None else [point.problems.identity(point.horizon)]
    return digest([task, point.model_digest, point.horizon, execution, point.planner.name, settings], 12)


def duration_difference(one: Point, other: Point) -> float:
    """How much longer rows of one point run than those of the other: the difference of the logarithms of their iterations.

    A row that has ended leaves the batch, which is then smaller, and slower per row, until it ends.
    """
    iterations = [point.planner.as_dict().get("iterations") for point in (one, other)]
    if not all(isinstance(count, int) and count > 0 for count in iterations):
        return 0.0
    return abs(math.log(iterations[0] / iterations[1]))  # pyright: ignore[reportOperatorIssue, reportOptionalOperand]


def planner_settings(points: Sequence[Point]) -> Mapping[str, Setting]:
    """Settings for a batch whose row i belongs to `points[i]`; settings that differ become tensors `[batch]`."""
    first = points[0].planner
    if all(point is points[0] for point in points):
        return first.as_dict()
    rows: list[Mapping[str, Scalar]] = [point.planner.as_dict() for point in points]
    return stacked_settings(first.name, rows)
