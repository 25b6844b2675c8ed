"""What the tracker is told of a sweep: its words, and which cells are its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from orchestrator.core.portion import Portion


@dataclass(frozen=True)
class SweepInfo:
    """What the parent run says about a sweep."""

    name: str
    config_text: str
    """The composed configuration, as YAML, without passwords."""
    command: str
    """Without passwords; empty where it is not known."""
    description: str
    """Markdown."""
    files: tuple[str, ...] = ()
    """Paths of files on what it ran in; those that are gone are left out."""
    models: tuple[str, ...] = ()
    """World models, by zoo name or path."""
    usage: str = ""
    """File with samples of what its workers took; empty: there is none."""

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> SweepInfo:
        """From plain values, where sequences are lists; records of earlier versions have fewer."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        return SweepInfo(**values)


@dataclass(frozen=True, eq=False)
class SeedGroup:
    """Points that share their seeds."""

    points: tuple[str, ...]
    """Point ids."""
    seeds: Int64[np.ndarray, " seeds"]
    """Sorted."""


@dataclass(frozen=True, eq=False)
class CellSet:
    """Which cells are meant, in a few words however many they are: a million cells are a few thousand ids and some ranges."""

    groups: tuple[SeedGroup, ...] = ()

    @staticmethod
    def of(portions: Iterable[Portion]) -> CellSet:
        """The cells of portions."""
        single = (SeedGroup((portion.point.point_id,), np.unique(portion.seeds)) for portion in portions)
        return CellSet.merged([CellSet(tuple(single))])

    @staticmethod
    def merged(extents: Iterable[CellSet]) -> CellSet:
        """All of them; points that share their seeds are one group again."""
        seeds: dict[bytes, Int64[np.ndarray, " seeds"]] = {}
        points: dict[bytes, dict[str, None]] = {}
        for group in (group for extent in extents for group in extent.groups):
            key = group.seeds.tobytes()
            seeds.setdefault(key, group.seeds)
            points.setdefault(key, {}).update(dict.fromkeys(group.points))
        return CellSet(tuple(SeedGroup(tuple(points[key]), seeds[key]) for key in seeds))

    def __len__(self) -> int:
        """Cells."""
        return sum(len(group.points) * len(group.seeds) for group in self.groups)

    @property
    def points(self) -> list[str]:
        """Ids of all points, each once."""
        return list(dict.fromkeys(point for group in self.groups for point in group.points))

    def restricted_to(self, points: Sequence[str]) -> CellSet:
        """The part of it that lies in some points."""
        wanted = set(points)
        left = (SeedGroup(tuple(p for p in group.points if p in wanted), group.seeds) for group in self.groups)
        return CellSet(tuple(group for group in left if group.points))

    def split(self, cells: int) -> Iterator[CellSet]:
        """Parts of at most so many cells, or of a single point."""
        for group in self.groups:
            step = max(1, cells // max(1, len(group.seeds)))
            for start in range(0, len(group.points), step):
                yield CellSet((SeedGroup(group.points[start : start + step], group.seeds),))

    def select(self, table: pa.Table) -> pa.Table:
        """The rows (with `point_id` and `seed`) that are meant."""
        if table.num_rows == 0 or not self.groups:
            return table.slice(0, 0)
        # Cells of one point may be in a ledger for other sweeps' sake, with other seeds.
        meant = None
        for group in self.groups:
            points, seeds = pa.array(group.points, pa.string()), pa.array(group.seeds)
            own = pc.field("point_id").isin(points) & pc.field("seed").isin(seeds)
            meant = own if meant is None else meant | own
        return table.filter(meant)

    def to_json(self) -> list[dict[str, object]]:
        """Plain values that `from_json` reads: seeds as [first, count] of each run of consecutive ones."""
        return [{"points": list(group.points), "seeds": _runs(group.seeds)} for group in self.groups]

    @staticmethod
    def from_json(raw: Sequence[Mapping[str, Any]]) -> CellSet:
        """The extent of `to_json`'s values."""
        return CellSet(tuple(SeedGroup(tuple(map(str, group["points"])), _spread(group["seeds"])) for group in raw))


def _runs(seeds: Int64[np.ndarray, " seeds"]) -> list[list[int]]:
    breaks = np.flatnonzero(np.diff(seeds) != 1) + 1
    return [[int(run[0]), len(run)] for run in np.split(seeds, breaks) if len(run)]


def _spread(runs: Sequence[Sequence[int]]) -> Int64[np.ndarray, " seeds"]:
    return np.concatenate([np.empty(0, np.int64), *(np.arange(first, first + count) for first, count in runs)]).astype(np.int64)
