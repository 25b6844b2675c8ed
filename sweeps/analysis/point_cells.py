"""A sweep's cells as arrays, point by point, from which tables, figures and tests are made."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float64, Int64

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.parts import coded, is_failed, is_status
from orchestrator.ledger.records import SCHEMA
from sweeps.analysis.intervals import Outcomes
from sweeps.config.grid import Entry, Grid

_NUMBERS = ("model_success", "distance", "start_distance", "steps_to_success", "plan_seconds", "evaluations")
COLUMNS = ("point_id", "seed", "status", "success", *_NUMBERS)
"""Columns of the ledger that `cells_of` reads."""


@dataclass(frozen=True, eq=False)
class PointCells:
    """Records of one point, by seed; NaN means unknown."""

    seed: Int64[np.ndarray, " cells"]
    ran: Bool[np.ndarray, " cells"]
    """Whether the cell did not fail."""
    non_finite: Bool[np.ndarray, " cells"]
    success: Bool[np.ndarray, " cells"]
    predicted_success: Float64[np.ndarray, " cells"]
    """Success in the world model."""
    distance: Float64[np.ndarray, " cells"]
    start_distance: Float64[np.ndarray, " cells"]
    steps: Float64[np.ndarray, " cells"]
    """Environment steps to success."""
    seconds: Float64[np.ndarray, " cells"]
    evaluations: Float64[np.ndarray, " cells"]

    def __len__(self) -> int:
        return len(self.seed)

    def where(self, index: slice | np.ndarray) -> PointCells:
        """The cells at an index."""
        return PointCells(*(getattr(self, field.name)[index] for field in fields(self)))

    @cached_property
    def done(self) -> PointCells:
        """The cells that ran."""
        return self.where(self.ran)

    @property
    def outcomes(self) -> Outcomes:
        """Seeds and successes."""
        return self.seed, self.success

    @property
    def progress(self) -> Float64[np.ndarray, " cells"]:
        """Share of the way to the goal that was covered: 0 if no nearer than at the start, 1 at the goal."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.clip(1.0 - self.distance / self.start_distance, 0.0, 1.0)


def records_of(grid: Grid, ledger: Ledger, columns: Sequence[str] | None = None) -> pa.Table:
    """The ledger's records of the grid's cells, each once; raises what `Ledger.table` raises."""
    wanted = SCHEMA.names if columns is None else list(columns)
    table = ledger.table([entry.point.point_id for entry in grid.entries], list(dict.fromkeys([*wanted, "seed"])))
    return table.filter(pc.field("seed").isin(pa.array(grid.seeds, pa.int64()))).select(wanted)


def cells_of(grid: Grid, table: pa.Table) -> Mapping[str, PointCells]:
    """Cells by point id, from a ledger table with `COLUMNS`; other sweeps' cells are left out."""
    order, bounds = by_point(grid, table)
    cells = cells_in(table).where(order)
    spans = zip(grid.entries, bounds[:-1], bounds[1:], strict=True)
    return {entry.point.point_id: cells.where(slice(a, b)) for entry, a, b in spans}


def cells_in(table: pa.Table) -> PointCells:
    """All cells of a table with `COLUMNS`, in its order."""
    return PointCells(
        table["seed"].to_numpy(),
        ~is_failed(table["status"]),
        is_status(table["status"], "non_finite"),
        table["success"].to_numpy(),
        *(table[name].cast(pa.float64()).to_numpy() for name in _NUMBERS),
    )


def by_point(grid: Grid, table: pa.Table) -> tuple[Int64[np.ndarray, " cells"], Int64[np.ndarray, " points_plus_one"]]:
    """Indices of the grid's rows in a table, sorted by point and seed, and the start of each point among them."""
    numbers = {entry.point.point_id: number for number, entry in enumerate(grid.entries)}
    codes, ids = coded(table["point_id"])
    point = np.array([numbers.get(point_id, -1) for point_id in ids], np.int64)[codes]
    seeds = table["seed"].to_numpy()
    mine = np.flatnonzero((point >= 0) & np.isin(seeds, np.array(grid.seeds, np.int64)))
    order = mine[np.lexsort((seeds[mine], point[mine]))]
    return order, np.searchsorted(point[order], np.arange(len(grid.entries) + 1))


Condition = tuple[str, str, int]
"""Task, world model and horizon."""


def problems_of(entry: Entry) -> tuple[Hashable, ...]:
    """The problems of a point and how they are judged, which planners must share to be compared seed by seed."""
    point = entry.point
    return entry.task, point.task, point.model, point.horizon, point.problems, point.success
