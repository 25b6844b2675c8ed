"""Portions: cells to plan, grouped by point. A million cells are a few thousand points with arrays of seeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from orchestrator.core.cell import Cell, Point


@dataclass(frozen=True, eq=False)
class Portion:
    """Some cells of one point: their seeds in planning order."""

    point: Point
    seeds: Int64[np.ndarray, " cells"]
    rank: int = 0
    """Portions of a lower rank are planned first, whatever their duration."""
    name: str = ""
    """The point's name for people, made of its sweep's labels; empty if nobody named it."""

    @staticmethod
    def of(point: Point, seeds: Iterable[int], rank: int = 0) -> Portion:
        """The portion of a point with some seeds."""
        return Portion(point, np.fromiter(seeds, np.int64), rank)

    def __len__(self) -> int:
        return len(self.seeds)

    def cells(self) -> Iterator[Cell]:
        """The single cells, for small portions and tests."""
        return (self.point.cell(int(seed)) for seed in self.seeds)

    def without(self, seeds: Int64[np.ndarray, " finished"]) -> Portion:
        """The cells whose seed is not among `seeds`."""
        return replace(self, seeds=self.seeds[~np.isin(self.seeds, seeds)]) if len(seeds) else self


def by_point(cells: Iterable[Cell]) -> list[Portion]:
    """Single cells as portions, with points and seeds in the given order."""
    seeds: dict[Point, list[int]] = {}
    for cell in cells:
        seeds.setdefault(cell.point, []).append(cell.seed)
    return [Portion.of(point, of_point) for point, of_point in seeds.items()]


def merged(portions: Iterable[Portion]) -> list[Portion]:
    """The union of portions: one portion per point, with each seed once."""
    found: dict[str, Portion] = {}
    for portion in portions:
        known = found.get(portion.point.point_id)
        if known is not None:
            fresh = portion.without(known.seeds).seeds
            portion = replace(known, seeds=np.concatenate([known.seeds, fresh]))
        found[portion.point.point_id] = portion
    return list(found.values())


def count(portions: Iterable[Portion]) -> int:
    """Number of cells in all portions."""
    return sum(len(portion) for portion in portions)


def lacking(portions: Iterable[Portion], finished: Mapping[str, Int64[np.ndarray, " finished"]]) -> list[Portion]:
    """The rest of each portion without the seeds `finished` (by point id); empty portions are dropped."""
    nothing = np.empty(0, np.int64)
    left = (portion.without(finished.get(portion.point.point_id, nothing)) for portion in portions)
    return [portion for portion in left if len(portion)]
