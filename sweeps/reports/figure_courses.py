"""Figures over time: how the cost falls during planning, and how the distance to the goal changes during execution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.evaluation.curves import distance_times
from orchestrator.ledger.parts import is_failed
from sweeps.analysis.point_cells import by_point
from sweeps.analysis.rows import Row, judge_of
from sweeps.config.grid import Grid
from sweeps.reports.figure import Layout, count_range, set_title

COLUMNS = ("point_id", "seed", "status", "costs", "distances")
"""Columns of the ledger that `curves_of` reads."""

Curves = Mapping[str, Float[np.ndarray, "_ _"]]
"""One curve per cell, by point id; points without curves are left out."""


def longest_horizon_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows at each panel's longest horizon."""
    last: dict[tuple[str, str], int] = {}
    for row in rows:
        last[row.panel] = max(row.horizon, last.get(row.panel, 0))
    return [row for row in rows if row.horizon == last[row.panel]]


def curves_of(grid: Grid, table: pa.Table) -> tuple[Curves, Curves]:
    """Costs relative to that of the initial plan, and distances relative to that at the start; NaN where there is none.

    Ledger rows from before schema 4 have no curves.
    """
    table = table.filter(pa.array(~is_failed(table["status"])))
    order, bounds = by_point(grid, table)
    table = table.take(order)  # once: taking a few rows of a table in many pieces takes milliseconds
    costs, distances = {}, {}
    for entry, a, b in zip(grid.entries, bounds[:-1], bounds[1:], strict=True):
        if a == b:
            continue
        rows = table.slice(a, b - a)
        key = entry.point.point_id
        for found, name in ((costs, "costs"), (distances, "distances")):
            curves = [curve for curve in rows[name].to_pylist() if curve]
            if curves:
                values = np.array(curves, np.float64)
                with np.errstate(divide="ignore", invalid="ignore"):
                    found[key] = values / values[:, :1]
    return costs, distances


def costs_figure(rows: Sequence[Row], costs: Curves, title: str) -> Figure | None:
    """Best predicted cost so far, relative to that of the initial plan, against the share of model evaluations spent."""
    return _bands(
        rows,
        costs,
        f"{title}: best predicted cost while planning",
        "share of model evaluations spent",
        "cost relative to the initial plan",
        log=True,
    )


def distances_figure(rows: Sequence[Row], distances: Curves, title: str) -> Figure | None:
    """Distance to the goal in the simulator, relative to that at the start, while the plan is executed."""
    return _bands(
        rows,
        distances,
        f"{title}: distance to the goal in the {judge_of(rows)}",
        "environment step",
        "distance relative to the start",
        log=False,
    )


def _bands(rows: Sequence[Row], curves: Curves, title: str, x_label: str, y_label: str, log: bool) -> Figure | None:
    """Medians and quartiles over problems, with a panel per task and model and a line per planner."""
    rows = [row for row in longest_horizon_rows(rows) if row.entry.point.point_id in curves]
    if not rows:
        return None
    layout = Layout.of(rows)
    figure, axes = layout.figure(y_label)
    for axis, panel in zip(axes, layout.panels, strict=True):
        mine = layout.rows(rows, panel)
        for row in mine:
            values = curves[row.entry.point.point_id]
            x = np.linspace(0, 1, values.shape[1]) if log else np.array(distance_times(row.horizon), np.float64)
            _band(axis, x, values, layout, row.planner)
        axis.set_xlabel(x_label)
        axis.set_title(f"{layout.title(panel)}, H = {mine[0].horizon}", fontsize=11)
        if log:
            axis.set_yscale("log")
    if not log:
        axes[0].set_ylim(bottom=0)  # shared by all panels, so only after all are drawn
    layout.legend(figure, axes)
    count = count_range([len(curves[row.entry.point.point_id]) for row in rows])
    set_title(figure, f"{title}\nmedian and quartiles of n = {count} problems{layout.left_out}")
    return figure


def _band(axis: Axes, x: Float[np.ndarray, " samples"], values: np.ndarray, layout: Layout, planner: str) -> None:
    known = values[:, ~np.isnan(values).all(0)]
    if not known.size:
        return  # every problem starts at its goal, so no share of its distance is left
    low, middle, high = np.nanquantile(known, (0.25, 0.5, 0.75), axis=0)
    x = x[~np.isnan(values).all(0)]
    colour = layout.colour(planner)
    axis.plot(x, middle, color=colour, label=planner, linewidth=1.8, marker=layout.marker(planner), markersize=5, markevery=0.2)
    axis.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
