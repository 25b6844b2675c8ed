"""Which points may share a batch: those whose planners differ only in settings that planners take by row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from orchestrator.core.cell import Point, Scalar, digest
from planners import PLANNERS, row_settings, stacked_settings
from planners.settings import Setting


@lru_cache(maxsize=100_000)
def kind_of(point: Point) -> str:
    """Points of one kind can be planned in one batch: same task, world model, horizon, mode, and settings that must agree."""
    # A planner that only an evaluator's own maker knows: nothing is known of its settings, so all must agree.
    by_row = row_settings(point.planner.name) if point.planner.name in PLANNERS else ()
    # Null means another algorithm, not a number: rows with it and rows without it do not mix.
    settings = {name: (value is None) if name in by_row else value for name, value in point.planner.settings}
    way = [point.mode, point.goal_cost, point.disagreement]
    task = [point.task.name, point.task.as_dict()]
    return digest([task, point.model_digest, point.horizon, way, point.planner.name, settings], 12)


def duration_difference(one: Point, other: Point) -> float:
    """How differently long rows of two points stay in a batch: the distance of their iterations' logarithms.

    A row that has ended leaves its batch, which is the smaller, and the slower for each row, for the rest of its time.
    """
    long = [point.planner.as_dict().get("iterations") for point in (one, other)]
    if not all(isinstance(count, int) and count > 0 for count in long):
        return 0.0
    return abs(math.log(long[0] / long[1]))  # pyright: ignore[reportOperatorIssue, reportOptionalOperand]


def planner_settings(points: Sequence[Point]) -> Mapping[str, Setting]:
    """Settings for a batch whose row i belongs to `points[i]`, all of one kind: what differs is a tensor `[batch]`."""
    first = points[0].planner
    if all(point is points[0] for point in points):
        return first.as_dict()
    rows: list[Mapping[str, Scalar]] = [point.planner.as_dict() for point in points]
    return stacked_settings(first.name, rows)
