"""The results of a sweep: one row per task, horizon and planner, compared with the first planner on common seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
from jaxtyping import Float64

from sweeps.analysis.comparison import Comparison, adjust, compare_cells
from sweeps.analysis.intervals import Rate
from sweeps.analysis.point_cells import COLUMNS, Condition, PointCells, cells_of, problems_of, records_of
from sweeps.config.grid import Entry, Grid
from world_models.precision import Arithmetic

__all__ = ["COLUMNS", "MeasuredPoint", "Row", "judge_of", "records_of", "rows_of", "summarise"]


@dataclass(frozen=True, eq=False, kw_only=True)
class MeasuredPoint:
    """A planner on a task at a horizon, with its cells and their statistics, which tables and figures show."""

    task: str
    """The task's label."""
    model: str
    """World model name or path."""
    horizon: int
    mode: str
    planner: str
    """The planner's label."""
    unit: str
    """Unit of the task's distance."""
    cells: PointCells
    versus: Comparison | None = None
    """Compared with the reference planner on the same problems; None for the reference itself."""
    judged_in_model: bool = False
    """Whether success and distance are what the world model predicts, for lack of a simulator."""
    mixed: tuple[str, ...] = ()
    """Differences in how its cells were computed, in words (`sweeps.analysis.mixtures`)."""

    @property
    def condition(self) -> Condition:
        """Task, world model and horizon, which planners must share to be compared."""
        return self.task, self.model, self.horizon

    @property
    def panel(self) -> tuple[str, str]:
        """Task and world model, which share a panel in figures."""
        return self.task, self.model

    @cached_property
    def success(self) -> Rate:
        """Success rate of the cells that ran; failed ones are counted apart."""
        return Rate(int(self.cells.done.success.sum()), len(self.cells.done))

    @cached_property
    def in_model(self) -> Rate:
        """Success rate that the world model predicts."""
        predicted = _known(self.cells.done.predicted_success)
        return Rate(int(predicted.sum()), len(predicted))

    @cached_property
    def distance(self) -> float | None:
        """Median distance to the goal at the end, in `unit`."""
        return _median(self.cells.done.distance)

    @cached_property
    def plan_seconds(self) -> float | None:
        """Mean planning seconds over all cells that ran, successful or not."""
        return _mean(self.cells.done.seconds)

    @cached_property
    def solved_seconds(self) -> float | None:
        """Mean planning seconds over the cells that succeeded."""
        return _mean(self.cells.done.seconds[self.cells.done.success])

    @cached_property
    def steps(self) -> float | None:
        """Median environment steps to success, of the cells that succeeded."""
        return _median(self.cells.done.steps[self.cells.done.success])

    @cached_property
    def evaluations(self) -> float | None:
        """Mean model steps per problem, over all cells that ran."""
        return _mean(self.cells.done.evaluations)

    @property
    def failed(self) -> int:
        """Cells that ended in an error."""
        return len(self.cells) - len(self.cells.done)


@dataclass(frozen=True, eq=False, kw_only=True)
class Row(MeasuredPoint):
    """A point of a sweep's grid."""

    entry: Entry
    reference: str | None
    """Label of the planner that `versus` compares with; None for the reference itself."""
    missing: int
    """Cells that the ledger lacks."""
    computed: tuple[Arithmetic, ...] = ()
    """Kernels and precisions that computed its cells."""


def judge_of(rows: Iterable[MeasuredPoint]) -> str:
    """The judge of some rows' plans, in words."""
    in_model = {row.judged_in_model for row in rows}
    if in_model == {True}:
        return "world model (no simulator)"
    return "simulator, or in the model where there is none" if True in in_model else "simulator"


def summarise(grid: Grid, table: pa.Table) -> list[Row]:
    """A row per point, in the grid's order, from a ledger table with `COLUMNS`; other sweeps' cells are left out.

    The reference planner is the grid's first.
    """
    return rows_of(grid, cells_of(grid, table))


def rows_of(grid: Grid, cells: Mapping[str, PointCells], reference: str | None = None) -> list[Row]:
    """A row per point, from cells by point id; `reference` is another planner's label to compare with.

    Where a task and horizon lack the reference, nothing is compared.
    """
    candidates = [entry for entry in grid.entries if reference in (None, entry.planner)]
    references = {problems_of(entry): entry for entry in reversed(candidates)}
    rows = [_row(entry, references.get(problems_of(entry), entry), cells, len(grid.seeds)) for entry in grid.entries]
    fair = iter(adjust([row.versus for row in rows if row.versus is not None]))
    return [row if row.versus is None else replace(row, versus=next(fair)) for row in rows]


def _row(entry: Entry, reference: Entry, cells: Mapping[str, PointCells], seeds: int) -> Row:
    point, recorded = entry.point, cells[entry.point.point_id]
    return Row(
        task=entry.task,
        model=point.model,
        horizon=point.horizon,
        mode=point.mode,
        planner=entry.planner,
        unit=entry.unit,
        cells=recorded,
        versus=None if reference is entry else compare_cells(recorded, cells[reference.point.point_id]),
        judged_in_model=entry.judged_in_model,
        entry=entry,
        reference=None if reference is entry else reference.planner,
        missing=seeds - len(recorded),
    )


def _known(values: Float64[np.ndarray, " cells"]) -> Float64[np.ndarray, " known"]:
    return values[~np.isnan(values)]


def _median(values: Float64[np.ndarray, " cells"]) -> float | None:
    known = _known(values)
    return float(np.median(known)) if len(known) else None


def _mean(values: Float64[np.ndarray, " cells"]) -> float | None:
    known = _known(values)
    return float(known.mean()) if len(known) else None
