"""What came out of a sweep: a row for task x horizon x planner, each compared with the first planner on common seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from jaxtyping import Float64

from sweeps.analysis.comparison import Comparison, adjust, compare_cells
from sweeps.analysis.intervals import Rate
from sweeps.analysis.point_cells import COLUMNS, PointCells, cells_of, condition_of, records_of
from sweeps.config.grid import Entry, Grid

__all__ = ["COLUMNS", "Row", "records_of", "rows_of", "summarise"]


@dataclass(frozen=True)
class Row:
    """One point: a planner on a task at a horizon."""

    entry: Entry
    success: Rate
    """Of the cells that ran; failed ones are counted apart."""
    in_model: Rate
    distance: float | None
    """Median at the end, in the task's unit."""
    plan_seconds: float | None
    """Mean over all cells that ran, successful or not."""
    solved_seconds: float | None
    """Mean over those that succeeded."""
    steps: float | None
    """Median environment steps to success, of those that succeeded."""
    evaluations: float | None
    """Mean model steps a problem, over all cells that ran."""
    reference: str | None
    """Label of the planner that `versus` compares with; None for the reference itself."""
    versus: Comparison | None
    failed: int
    missing: int
    mixed: tuple[str, ...] = ()
    """What its cells were not all computed with alike, in words (`sweeps.analysis.mixtures`)."""


def summarise(grid: Grid, table: pa.Table) -> list[Row]:
    """A row a point, in the grid's order, from a ledger table with `COLUMNS`; other sweeps' cells are left out.

    The reference planner is the grid's first.
    """
    return rows_of(grid, cells_of(grid, table))


def rows_of(grid: Grid, cells: Mapping[str, PointCells], reference: str | None = None) -> list[Row]:
    """The same, from cells by point id; `reference` is another planner's label to compare with.

    Where a task and horizon lack the reference, nothing is compared.
    """
    candidates = [entry for entry in grid.entries if reference in (None, entry.planner)]
    references = {condition_of(entry): entry for entry in reversed(candidates)}
    rows = [_row(entry, references.get(condition_of(entry), entry), cells, len(grid.seeds)) for entry in grid.entries]
    fair = iter(adjust([row.versus for row in rows if row.versus is not None]))
    return [row if row.versus is None else replace(row, versus=next(fair)) for row in rows]


def _row(entry: Entry, reference: Entry, cells: Mapping[str, PointCells], seeds: int) -> Row:
    recorded = cells[entry.point.point_id]
    ran = recorded.done
    predicted = _known(ran.predicted_success)
    return Row(
        entry,
        Rate(int(ran.success.sum()), len(ran)),
        Rate(int(predicted.sum()), len(predicted)),
        _median(ran.distance),
        _mean(ran.seconds),
        _mean(ran.seconds[ran.success]),
        _median(ran.steps[ran.success]),
        _mean(ran.evaluations),
        None if reference is entry else reference.planner,
        None if reference is entry else compare_cells(recorded, cells[reference.point.point_id]),
        len(recorded) - len(ran),
        seeds - len(recorded),
    )


def _known(values: Float64[np.ndarray, " cells"]) -> Float64[np.ndarray, " known"]:
    return values[~np.isnan(values)]


def _median(values: Float64[np.ndarray, " cells"]) -> float | None:
    known = _known(values)
    return float(np.median(known)) if len(known) else None


def _mean(values: Float64[np.ndarray, " cells"]) -> float | None:
    known = _known(values)
    return float(known.mean()) if len(known) else None
