"""A sweep's cells and points as pandas frames, with the labels of its tables."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import LISTS, SCHEMA
from sweeps.analysis.point_cells import COLUMNS, cells_of, records_of
from sweeps.analysis.rows import Row, rows_of
from sweeps.config.grid import Grid
from sweeps.reports.tables import record_of
from world_models.errors import UnknownNameError

FIRST = ("task", "planner", "model", "horizon", "mode", "seed", "status", "success", "distance", "unit")
"""First columns of the cells' frame; the ledger's other columns follow."""
COMPARED = ("pairs", "difference", "difference_low", "difference_high", "p_value", "q_value", "verdict")
"""Columns of a comparison, besides those that name the point."""
UNITS = {"horizon": "environment steps", "steps_to_success": "environment steps", "evaluations": "model steps"} | dict.fromkeys(
    ("plan_seconds", "batch_seconds", "worker_seconds", "mean_plan_seconds", "mean_plan_seconds_of_successes"), "s"
)
"""Units of columns; a distance has its task's unit, which is a separate column."""


def cells_frame(grid: Grid, ledger: Ledger, lists: bool = False) -> pd.DataFrame:
    """A frame with one row per recorded cell, ordered by point and seed."""
    columns = [name for name in SCHEMA.names if lists or name not in LISTS]
    frame = records_of(grid, ledger, columns).to_pandas()
    entries = {entry.point.point_id: entry for entry in grid.entries}
    order = {point_id: number for number, point_id in enumerate(entries)}
    frame = frame.rename(columns={"task": "task_name", "planner": "planner_name"})
    frame["task"] = frame["point_id"].map({key: entry.task for key, entry in entries.items()})
    frame["planner"] = frame["point_id"].map({key: entry.planner for key, entry in entries.items()})
    frame["unit"] = frame["point_id"].map({key: entry.unit for key, entry in entries.items()})
    frame = frame.sort_values("point_id", key=lambda ids: ids.map(order), kind="stable")
    frame = frame.groupby("point_id", sort=False, group_keys=False)[frame.columns.tolist()].apply(
        lambda cells: cells.sort_values("seed")
    )
    return _described(frame[[*FIRST, *(name for name in frame.columns if name not in FIRST)]].reset_index(drop=True))


def points_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """A frame with one row per point and the columns of report.csv."""
    return _described(pd.DataFrame([record_of(row) for row in rows]))


def rows_against(grid: Grid, ledger: Ledger, reference: str | None = None) -> list[Row]:
    """One row per point, compared with the planner of that label or the grid's first; UserError for an unknown label."""
    labels = {entry.planner for entry in grid.entries}
    if reference is not None and reference not in labels:
        raise UnknownNameError(f"planner of sweep {grid.name}:", reference, labels)
    return rows_of(grid, cells_of(grid, records_of(grid, ledger, COLUMNS)), reference)


def comparison_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """A frame with one row per point that was compared with the reference."""
    frame = points_frame([row for row in rows if row.versus is not None]).reindex(columns=_COMPARISON)
    return _described(frame)


_NEARER = ("ends_nearer", "ends_nearer_low", "ends_nearer_high")
_COMPARISON = ["task", "model", "horizon", "planner", "reference", *COMPARED, *_NEARER]


def _described(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the units of its columns in `attrs["units"]`."""
    frame.attrs["units"] = {name: unit for name, unit in UNITS.items() if name in frame.columns}
    return frame
