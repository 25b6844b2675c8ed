"""Which cells are planned together: batches of one point's seeds, longest first, short at the tail."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.cells import Cell, Point, planned_steps
from world_models.errors import require

MIN_ROWS = 4
"""Rows below which a batch is not split for balance: small batches waste the arithmetic units."""

BATCHES_A_WORKER = 2
"""No batch costs more than a worker's fair share over this, so that the tail of a sweep is short."""


@dataclass(frozen=True)
class Batch:
    """Cells of one point that one worker plans in one call."""

    point: Point
    seeds: tuple[int, ...]
    artifact_seeds: frozenset[int] = frozenset()
    """Seeds whose rollout is drawn as a gif and a still."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells, in the order of `seeds`."""
        return tuple(self.point.cell(seed) for seed in self.seeds)


def horizon_cost(point: Point) -> float:
    """A guess that needs no history: relative seconds a row."""
    return float(planned_steps(point.mode, point.horizon))


def make_batches(
    cells: Iterable[Cell],
    max_rows: int = 64,
    workers: int = 1,
    cost: Callable[[Point], float] | None = None,
    artifacts_a_point: int = 1,
) -> list[Batch]:
    """Batches that cover exactly `cells`, longest first.

    `cost` gives (relative) seconds of one row of a point. Points are split evenly where they exceed `max_rows` or where a
    worker would otherwise have nothing to do or much more than the others. The first `artifacts_a_point` seeds of a point
    are marked for drawing. Raises UserError for cells that occur twice or a `max_rows` or `workers` below 1.
    """
    require(max_rows >= 1, f"max_rows {max_rows} is no batch size: give at least 1.")
    require(workers >= 1, f"{workers} workers cannot plan anything: give at least 1.")
    seeds: dict[Point, list[int]] = defaultdict(list)
    for cell in cells:
        seeds[cell.point].append(cell.seed)
    for point, of_point in seeds.items():
        require(len(set(of_point)) == len(of_point), f"a seed of {point.task.name} {point.planner.name} is listed twice.")
    price = {point: max((cost or horizon_cost)(point), 1e-9) for point in seeds}
    share = sum(price[p] * len(s) for p, s in seeds.items()) / (workers * BATCHES_A_WORKER)
    counts = {p: _splits(len(s), price[p], share, max_rows) for p, s in seeds.items()}
    _occupy(counts, {p: len(s) for p, s in seeds.items()}, price, workers)
    batches = []
    for point, of_point in seeds.items():
        drawn = frozenset(of_point[:artifacts_a_point])
        for part in _even(of_point, counts[point]):
            batches.append(Batch(point, tuple(part), drawn & frozenset(part)))
    return sorted(batches, key=lambda batch: -price[batch.point] * len(batch.seeds))


def _splits(rows: int, price: float, share: float, max_rows: int) -> int:
    """Into how many batches a point is cut."""
    needed = math.ceil(rows / max_rows)
    balanced = min(math.ceil(price * rows / share - 1e-9), max(1, rows // MIN_ROWS))
    return max(needed, balanced, 1)


def _occupy(counts: dict[Point, int], rows: dict[Point, int], price: dict[Point, float], workers: int) -> None:
    """Cut the costliest batches further until every worker has one (or every batch is one row)."""
    while sum(counts.values()) < workers:
        candidates = [p for p in counts if counts[p] < rows[p]]
        if not candidates:
            return
        costliest = max(candidates, key=lambda p: price[p] * math.ceil(rows[p] / counts[p]))
        counts[costliest] += 1


def _even(seeds: list[int], parts: int) -> list[list[int]]:
    """Runs of seeds whose lengths differ by at most one."""
    bounds = [round(i * len(seeds) / parts) for i in range(parts + 1)]
    return [seeds[a:b] for a, b in pairwise(bounds)]
