"""The description of a sweep for the tracker: its texts, and the set of its cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64
from pydantic import Field

from orchestrator.core.portion import Portion
from world_models.files.names import file_name

MOST_SEEDS = 10_000_000
"""Most seeds of a group in a record: they are written out in memory."""


@dataclass(frozen=True)
class PointLabels:
    """The words for a point in its sweep's tables. They come from the config: another sweep may have others for it."""

    task: str
    planner: str
    horizon: int
    words: tuple[str, ...] = ()
    """Execution mode, goal cost and the like, where they are not the defaults; the world model, where a task has several."""
    unit: str = ""
    """Unit of the task's distance; empty if unknown."""

    @property
    def full_planner(self) -> str:
        """The planner, followed by the words."""
        return " ".join([self.planner, *self.words])


Labels = Mapping[str, PointLabels]
"""Labels by point id."""


@dataclass(frozen=True)
class SweepInfo:
    """The texts and files of a sweep's own run."""

    name: str
    config_text: str
    """The composed configuration, as YAML, without passwords."""
    command: str
    """The command line without passwords; empty if unknown."""
    description: str
    """The sweep's description, in Markdown."""
    files: tuple[str, ...] = ()
    """Paths of files that describe its environment; missing ones are skipped."""
    models: tuple[str, ...] = ()
    """Its world models, by zoo name or path."""
    usage: str = ""
    """Path of the file with samples of its workers' usage; empty if there is none."""
    labels: Labels = field(default_factory=dict[str, PointLabels])

    def labels_of(self, points: Iterable[str]) -> Labels:
        """The labels of some points."""
        return {point: self.labels[point] for point in points if point in self.labels}


@dataclass(frozen=True)
class SavedGroup:
    """A `SeedGroup` as records hold it."""

    points: tuple[str, ...]
    seeds: tuple[tuple[Annotated[int, Field(ge=-(2**63))], Annotated[int, Field(ge=1, le=MOST_SEEDS)]], ...]
    """The first seed and the number of seeds of each run of consecutive seeds."""

    def __post_init__(self) -> None:
        if sum(count for _, count in self.seeds) > MOST_SEEDS:
            raise ValueError(f"there are more than {MOST_SEEDS} seeds")
        if any(first + count > 2**63 for first, count in self.seeds):
            raise ValueError("a seed does not fit into 64 bits")
        for point in self.points:
            file_name("point", point)  # its pictures are in a folder of this name


@dataclass(frozen=True, eq=False)
class SeedGroup:
    """Points that share their seeds."""

    points: tuple[str, ...]
    """Ids of the points."""
    seeds: Int64[np.ndarray, " seeds"]
    """The seeds, sorted."""


@dataclass(frozen=True, eq=False)
class CellSet:
    """A compact set of cells: a million cells are a few thousand point ids and some ranges of seeds."""

    groups: tuple[SeedGroup, ...] = ()

    @staticmethod
    def of(portions: Iterable[Portion]) -> CellSet:
        """The cells of portions."""
        single = (SeedGroup((portion.point.point_id,), np.unique(portion.seeds)) for portion in portions)
        return CellSet.merged([CellSet(tuple(single))])

    @staticmethod
    def merged(cell_sets: Iterable[CellSet]) -> CellSet:
        """The union of several sets; points that share their seeds form one group again."""
        seeds: dict[bytes, Int64[np.ndarray, " seeds"]] = {}
        points: dict[bytes, dict[str, None]] = {}
        for group in (group for cells in cell_sets for group in cells.groups):
            key = group.seeds.tobytes()
            seeds.setdefault(key, group.seeds)
            points.setdefault(key, {}).update(dict.fromkeys(group.points))
        return CellSet(tuple(SeedGroup(tuple(points[key]), seeds[key]) for key in seeds))

    def __len__(self) -> int:
        """Number of cells."""
        return sum(len(group.points) * len(group.seeds) for group in self.groups)

    @property
    def points(self) -> list[str]:
        """Ids of all points, each once."""
        return list(dict.fromkeys(point for group in self.groups for point in group.points))

    def restricted_to(self, points: Sequence[str]) -> CellSet:
        """The cells of some points."""
        wanted = set(points)
        left = (SeedGroup(tuple(p for p in group.points if p in wanted), group.seeds) for group in self.groups)
        return CellSet(tuple(group for group in left if group.points))

    def split(self, cells: int) -> Iterator[CellSet]:
        """Parts of at most `cells` cells, or of a single point."""
        for group in self.groups:
            step = max(1, cells // max(1, len(group.seeds)))
            for start in range(0, len(group.points), step):
                yield CellSet((SeedGroup(group.points[start : start + step], group.seeds),))

    def select(self, table: pa.Table) -> pa.Table:
        """The rows of these cells in a table with `point_id` and `seed`."""
        if table.num_rows == 0 or not self.groups:
            return table.slice(0, 0)
        # A ledger may hold other seeds of a point, from other sweeps.
        mask = None
        for group in self.groups:
            points, seeds = pa.array(group.points, pa.string()), pa.array(group.seeds)
            own = pc.field("point_id").isin(points) & pc.field("seed").isin(seeds)
            mask = own if mask is None else mask | own
        return table.filter(mask)

    def saved(self) -> tuple[SavedGroup, ...]:
        """The set for a record."""
        return tuple(SavedGroup(group.points, _runs(group.seeds)) for group in self.groups)

    @staticmethod
    def of_saved(saved: Iterable[SavedGroup]) -> CellSet:
        """The set of a record."""
        return CellSet(tuple(SeedGroup(group.points, _spread(group.seeds)) for group in saved))


def _runs(seeds: Int64[np.ndarray, " seeds"]) -> tuple[tuple[int, int], ...]:
    breaks = np.flatnonzero(np.diff(seeds) != 1) + 1
    return tuple((int(run[0]), len(run)) for run in np.split(seeds, breaks) if len(run))


def _spread(runs: Sequence[Sequence[int]]) -> Int64[np.ndarray, " seeds"]:
    return np.concatenate([np.empty(0, np.int64), *(np.arange(first, first + count) for first, count in runs)]).astype(np.int64)
