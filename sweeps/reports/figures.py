"""All figures of a sweep's report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from matplotlib.figure import Figure

from sweeps.analysis.summary import SweepSummary
from sweeps.reports.figure_courses import costs_figure, curves_of, distances_figure, longest_horizon_rows
from sweeps.reports.figure_overall import failures_figure, profile_figure
from sweeps.reports.figure_rates import differences_figure, model_figure, seconds_figure, success_figure


@dataclass(frozen=True)
class NamedFigure:
    """A figure and what it shows."""

    name: str
    """Name of the figure's files, without the suffix."""
    alt: str
    figure: Figure


def curve_points(sweep_summary: SweepSummary) -> list[str]:
    """Ids of the points whose curves `figures` draws."""
    return [row.entry.point.point_id for row in longest_horizon_rows(sweep_summary.rows)]


def figures(sweep_summary: SweepSummary, curves: pa.Table) -> Iterator[NamedFigure]:
    """All figures that have something to show; `curves` is a ledger table with `CURVE_COLUMNS` of `curve_points`."""
    costs, distances = curves_of(sweep_summary.grid, curves)
    title, rows = sweep_summary.title, sweep_summary.rows
    for name, alt, figure in (
        ("success", "success against the horizon, by planner", success_figure(rows, title)),
        ("differences", "differences from the first planner on the same problems", differences_figure(rows, title)),
        ("seconds", "success against planning seconds", seconds_figure(rows, title)),
        ("failures", "how cells ended", failures_figure(rows, title)),
        ("model", "success in the world model and in the simulator", model_figure(rows, title)),
        ("profile", "performance profile over all settings", profile_figure(sweep_summary.overall, title)),
        ("costs", "predicted cost while planning", costs_figure(rows, costs, title)),
        ("distances", "distance to the goal while plans are executed", distances_figure(rows, distances, title)),
    ):
        if figure is not None:
            yield NamedFigure(name, alt, figure)
