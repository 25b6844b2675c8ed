"""A trial's cells: which are requested next, and the values that they give.

All trials of a study see the same cells in the same order.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.core.cell import Point
from orchestrator.core.portion import Portion
from orchestrator.ledger.records import CellResult
from orchestrator.tuning.objectives import Objective, instance_score, joined


@dataclass(frozen=True)
class Instance:
    """A cell of every trial: a condition (task, world model, horizon, mode) and a seed."""

    condition: int
    seed: int


def instances_of(conditions: int, seeds: Sequence[int], order: int) -> tuple[Instance, ...]:
    """All conditions with all seeds, shuffled by the seed `order`, so that any stretch of them is a fair sample."""
    every = [Instance(condition, seed) for condition in range(conditions) for seed in seeds]
    random.Random(order).shuffle(every)
    return tuple(every)


@dataclass
class Race:
    """The recorded cells of one trial, and how many of its instances have been requested."""

    points: tuple[Point, ...]
    """One point per condition."""
    instances: tuple[Instance, ...]
    requested: int
    """How many instances have been requested, from the first on."""
    records: dict[int, CellResult] = field(default_factory=dict)
    """Records by index of their instance."""

    def __post_init__(self) -> None:
        self._where: dict[tuple[str, int], list[int]] = {}
        for index, instance in enumerate(self.instances):
            self._where.setdefault((self.points[instance.condition].point_id, instance.seed), []).append(index)

    def add(self, record: CellResult) -> None:
        """Add a recorded cell; one that does not belong to the trial is ignored."""
        for index in self._where.get((record.point_id, record.seed), ()):
            self.records[index] = record

    def lacking(self, rank: int) -> list[Portion]:
        """The requested cells that are not recorded yet."""
        missing = [index for index in range(self.requested) if index not in self.records]
        by_condition: dict[int, list[int]] = {}
        for index in missing:
            by_condition.setdefault(self.instances[index].condition, []).append(self.instances[index].seed)
        return [Portion.of(self.points[condition], seeds, rank) for condition, seeds in by_condition.items()]

    def request_more(self, more: int) -> None:
        """Request so many further instances."""
        self.requested = min(self.requested + more, len(self.instances))

    @property
    def over(self) -> bool:
        """Whether all instances have been requested."""
        return self.requested >= len(self.instances)

    def scores(self, objective: Objective) -> Mapping[int, float]:
        """Scores for pruning, by index of the instance."""
        return {index: instance_score(record, objective) for index, record in self.records.items()}

    def value(self, objective: Objective, join: str) -> float:
        """The objective's value over the recorded cells."""
        by_condition: dict[int, list[CellResult]] = {}
        for index, record in self.records.items():
            by_condition.setdefault(self.instances[index].condition, []).append(record)
        return joined(by_condition.values(), objective, join)
