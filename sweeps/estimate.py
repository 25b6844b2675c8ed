"""How long cells take, learnt from those that the ledger holds or that have just finished."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from orchestrator.cells import Cell, Point, planned_steps

COLUMNS = ("point_id", "task", "planner", "mode", "horizon", "plan_seconds")
"""What `Timings.learn` reads of a ledger."""

Key = tuple[str, ...]


@dataclass
class _Mean:
    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1

    @property
    def value(self) -> float:
        return self.total / self.count


@dataclass
class Timings:
    """Mean planning seconds a cell: of the point itself, else scaled by the steps planned from the nearest that is known."""

    _points: dict[str, _Mean] = field(default_factory=lambda: defaultdict(_Mean))
    _a_step: dict[Key, _Mean] = field(default_factory=lambda: defaultdict(_Mean))
    """Seconds a cell and environment step planned, by (planner, task), (planner,) and ()."""

    def add(self, point_id: str, task: str, planner: str, mode: str, horizon: int, seconds: float | None) -> None:
        """One finished cell; without seconds (it failed) nothing is learnt."""
        if seconds is None:
            return
        self._points[point_id].add(seconds)
        for key in ((planner, task), (planner,), ()):
            self._a_step[key].add(seconds / planned_steps(mode, horizon))

    def learn(self, table: pa.Table) -> None:
        """All cells of a ledger table with `COLUMNS`."""
        columns = [table.column(name).to_pylist() for name in COLUMNS]
        for row in zip(*columns, strict=True):
            self.add(*row)

    def cell_seconds(self, point: Point) -> float | None:
        """Expected planning seconds of one cell; None when its planner has never been timed."""
        known = self._points.get(point.point_id)
        if known:
            return known.value
        for key in ((point.planner.name, point.task.name), (point.planner.name,)):
            if key in self._a_step:
                return self._a_step[key].value * planned_steps(point.mode, point.horizon)
        return None

    def cost(self, point: Point) -> float:
        """Relative seconds for balancing batches: a guess where nothing is known."""
        known = self.cell_seconds(point)
        if known is not None:
            return known
        return planned_steps(point.mode, point.horizon) * (self._a_step[()].value if () in self._a_step else 1.0)

    def total(self, cells: Iterable[Cell]) -> tuple[float, list[str]]:
        """Planning seconds of cells on one worker, and the planners that were left out because nothing is known."""
        total, unknown = 0.0, set()
        counts: dict[Point, int] = defaultdict(int)
        for cell in cells:
            counts[cell.point] += 1
        for point, count in counts.items():
            seconds = self.cell_seconds(point)
            if seconds is None:
                unknown.add(point.planner.name)
            else:
                total += seconds * count
        return total, sorted(unknown)


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
