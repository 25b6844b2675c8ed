"""Batches: the cells that one worker plans in one call, and how often each has been handed out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from orchestrator.core.cell import Cell, Point


@dataclass(frozen=True)
class Slice:
    """The cells of a batch that belong to one point."""

    point: Point
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Cells that one worker plans in one call: of one point, or of several of one kind (`orchestrator.core.mixing`)."""

    slices: tuple[Slice, ...]

    @staticmethod
    def of(point: Point, seeds: Iterable[int]) -> Batch:
        """The batch of one point's cells."""
        return Batch((Slice(point, tuple(seeds)),))

    @property
    def point(self) -> Point:
        """The point of the first cell; all share task, world model, horizon, mode and kind of planner."""
        return self.slices[0].point

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of all cells, in order."""
        return tuple(seed for part in self.slices for seed in part.seeds)

    @property
    def planner_seeds(self) -> tuple[int, ...]:
        """Seeds of the planner's noise for all cells, in order."""
        return tuple(cell.planner_seed for cell in self.cells)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells, in order."""
        return tuple(part.point.cell(seed) for part in self.slices for seed in part.seeds)

    @property
    def words(self) -> str:
        """The batch for people: `wall grasp H50, 4 seeds from 8`."""
        seeds, points = self.seeds, len({part.point for part in self.slices})
        which = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds from {min(seeds)}"
        which += f" with {points} settings" if points > 1 else ""
        return f"{self.point.task.name} {self.point.planner.name} H{self.point.horizon}, {which}"

    def select(self, rows: Iterable[int]) -> Batch:
        """The batch of some of its cells, by their indices in increasing order."""
        cells = [(part, seed) for part in self.slices for seed in part.seeds]
        return Batch(_slices([cells[row] for row in rows]))

    def split(self, parts: int) -> list[Batch]:
        """The same cells in at most `parts` batches whose sizes differ by at most one."""
        rows = [(part, seed) for part in self.slices for seed in part.seeds]
        return [Batch(_slices(run)) for run in _even(rows, parts)]


@dataclass(frozen=True)
class Assignment:
    """A batch handed to a worker."""

    batch: Batch
    attempts: int = 1
    """How often its cells have been handed out, this time included."""
    deaths: int = 0
    """Workers that died while this batch was all they had."""
    suspect: bool = False
    """Whether a worker died with it: it then gets a worker to itself, so that the next death can be blamed on it."""


def _even(rows: Sequence[tuple[Slice, int]], parts: int) -> list[Sequence[tuple[Slice, int]]]:
    """The rows in at most `parts` runs of nearly equal length, none empty."""
    parts = min(parts, len(rows))
    bounds = [round(i * len(rows) / parts) for i in range(parts + 1)]
    return [rows[a:b] for a, b in pairwise(bounds)]


def _slices(rows: Sequence[tuple[Slice, int]]) -> tuple[Slice, ...]:
    """Slices made of neighbouring rows that belong together."""
    found = []
    for part, run in groupby(rows, key=lambda row: row[0]):
        found.append(Slice(part.point, tuple(seed for _, seed in run)))
    return tuple(found)
