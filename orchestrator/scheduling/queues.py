"""Cells waiting to be planned: a queue of seeds per point, grouped by world model, with the slowest cells first.

Within a world model, portions of a lower rank go first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from orchestrator.core.batch import Batch, Slice
from orchestrator.core.cell import Point
from orchestrator.core.mixing import duration_difference, kind_of
from orchestrator.core.portion import Portion


@dataclass(eq=False)
class PointQueue:
    """Seeds of one point that have not been handed out."""

    point: Point
    seeds: np.ndarray
    rank: int = 0
    taken: int = 0
    row_seconds: float = 1.0
    """Seconds per row, or a guess in relative units."""

    def __len__(self) -> int:
        return len(self.seeds) - self.taken

    @property
    def seconds(self) -> float:
        """Seconds that its waiting rows take one worker."""
        return self.row_seconds * len(self)

    def take(self, rows: int) -> Slice:
        """The next rows, taken out of the queue."""
        seeds = tuple(int(seed) for seed in self.seeds[self.taken : self.taken + rows])
        self.taken += len(seeds)
        return Slice(self.point, seeds)


@dataclass(eq=False)
class ModelQueue:
    """The queues of one world model in planning order; empty ones are dropped."""

    digest: str
    points: list[PointQueue] = field(default_factory=list)
    seconds: float = 0.0
    """Seconds that its waiting rows take one worker."""

    def first(self) -> PointQueue | None:
        """The queue of the lowest rank, and of those the one with the slowest cells; None if all are empty."""
        while self.points and not len(self.points[0]):
            self.points.pop(0)
        return self.points[0] if self.points else None


class Queues:
    """All queues. Durations are asked for only in `reorder`, because there are many."""

    def __init__(self, row_seconds: Callable[[Point], float]) -> None:
        self._row_seconds = row_seconds
        self._models: dict[str, ModelQueue] = {}
        self._known: dict[str, np.ndarray] = {}
        """Every seed that was ever added, by point id."""
        self.rows = 0
        """Number of waiting cells."""

    def add(self, portions: Iterable[Portion]) -> int:
        """Add the cells that were never added before, and return their number."""
        before = self.rows
        for portion in portions:
            point_id = portion.point.point_id
            known = self._known.get(point_id)
            fresh = np.unique(portion.seeds) if known is None else np.setdiff1d(portion.seeds, known)
            # In the given order, which decides the cells that come first.
            seeds = portion.seeds[np.isin(portion.seeds, fresh)] if len(fresh) < len(portion.seeds) else portion.seeds
            if not len(seeds):
                continue
            seeds = seeds[np.sort(np.unique(seeds, return_index=True)[1])]
            self._known[point_id] = seeds if known is None else np.concatenate([known, seeds])
            model = self._models.setdefault(portion.point.model_digest, ModelQueue(portion.point.model_digest))
            model.points.append(PointQueue(portion.point, seeds, portion.rank))
            self.rows += len(seeds)
        if self.rows > before:
            self.reorder()
        return self.rows - before

    def reorder(self) -> None:
        """Ask for all durations again and sort by them."""
        for model in self._models.values():
            model.points = [queue for queue in model.points if len(queue)]
            for queue in model.points:
                queue.row_seconds = max(self._row_seconds(queue.point), 1e-9)
            model.points.sort(key=lambda queue: (queue.rank, -queue.row_seconds))
            model.seconds = sum(queue.seconds for queue in model.points)

    def waiting(self) -> list[ModelQueue]:
        """World models with waiting cells."""
        return [model for model in self._models.values() if model.first() is not None]

    def mates(self, model: ModelQueue, queue: PointQueue) -> list[PointQueue]:
        """The queues that may share a batch with `queue`: itself, then the others, those with similar durations first."""
        kind = kind_of(queue.point)
        others = [other for other in model.points if other is not queue and len(other) and kind_of(other.point) == kind]
        return [queue, *sorted(others, key=lambda other: duration_difference(other.point, queue.point))]

    def take(self, model: ModelQueue, queues: Iterable[PointQueue], rows: int) -> Batch:
        """A batch of the next rows of some queues, one queue after the other."""
        slices = []
        for queue in queues:
            if rows <= 0:
                break
            part = queue.take(rows)
            slices.append(part)
            rows -= len(part.seeds)
            self.rows -= len(part.seeds)
            model.seconds = max(0.0, model.seconds - queue.row_seconds * len(part.seeds))
        return Batch(tuple(slices))

    @property
    def seconds(self) -> float:
        """Seconds that all waiting rows take one worker."""
        return sum(model.seconds for model in self._models.values())
