"""What waits to be planned: a queue of seeds a point, the queues of one world model together, the dearest cells first.

Portions of a lower rank go before all others of their world model.
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
    """Seeds of one point that nobody has been handed yet."""

    point: Point
    seeds: np.ndarray
    rank: int = 0
    taken: int = 0
    row_seconds: float = 1.0
    """Seconds a row, or a guess in relative units."""

    def __len__(self) -> int:
        return len(self.seeds) - self.taken

    @property
    def seconds(self) -> float:
        """What its rows cost one worker."""
        return self.row_seconds * len(self)

    def take(self, rows: int) -> Slice:
        """The next rows."""
        seeds = tuple(int(seed) for seed in self.seeds[self.taken : self.taken + rows])
        self.taken += len(seeds)
        return Slice(self.point, seeds)


@dataclass(eq=False)
class ModelQueue:
    """The queues of one world model in the order in which they are planned; those that have run empty are dropped."""

    digest: str
    points: list[PointQueue] = field(default_factory=list)
    seconds: float = 0.0
    """What its rows cost one worker."""

    def first(self) -> PointQueue | None:
        """The queue of the lowest rank, and there the one whose cells are the dearest."""
        while self.points and not len(self.points[0]):
            self.points.pop(0)
        return self.points[0] if self.points else None


class Queues:
    """All queues. Prices are asked for when `reorder` is called, for there are many."""

    def __init__(self, row_seconds: Callable[[Point], float]) -> None:
        self._row_seconds = row_seconds
        self._models: dict[str, ModelQueue] = {}
        self._known: dict[str, np.ndarray] = {}
        """Every seed that was ever added, by point id."""
        self.rows = 0
        """Cells that wait."""

    def add(self, portions: Iterable[Portion]) -> int:
        """Cells that were not there before; how many those are."""
        before = self.rows
        for portion in portions:
            point_id = portion.point.point_id
            known = self._known.get(point_id)
            fresh = np.unique(portion.seeds) if known is None else np.setdiff1d(portion.seeds, known)
            # In the order given: it decides which come first.
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
        """Ask for all prices anew and sort by them."""
        for model in self._models.values():
            model.points = [queue for queue in model.points if len(queue)]
            for queue in model.points:
                queue.row_seconds = max(self._row_seconds(queue.point), 1e-9)
            model.points.sort(key=lambda queue: (queue.rank, -queue.row_seconds))
            model.seconds = sum(queue.seconds for queue in model.points)

    def waiting(self) -> list[ModelQueue]:
        """World models that have work."""
        return [model for model in self._models.values() if model.first() is not None]

    def mates(self, model: ModelQueue, queue: PointQueue) -> list[PointQueue]:
        """The queues that may share a batch with one, itself first, then those whose rows take about as long."""
        kind = kind_of(queue.point)
        others = [other for other in model.points if other is not queue and len(other) and kind_of(other.point) == kind]
        return [queue, *sorted(others, key=lambda other: duration_difference(other.point, queue.point))]

    def take(self, model: ModelQueue, queues: Iterable[PointQueue], rows: int) -> Batch:
        """The next rows of some queues, one after the other."""
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
        """What all waiting rows cost one worker."""
        return sum(model.seconds for model in self._models.values())
