"""All figures of a sweep's report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from matplotlib.figure import Figure

from sweeps.analysis.summary import Review
from sweeps.reports.figure_courses import costs_figure, curves_of, distances_figure, longest
from sweeps.reports.figure_overall import failures_figure, profile_figure
from sweeps.reports.figure_rates import differences_figure, model_figure, seconds_figure, success_figure


@dataclass(frozen=True)
class Drawn:
    """A figure and what it shows."""

    name: str
    """Of its files, without what comes behind the dot."""
    alt: str
    figure: Figure


def curve_points(seen: Review) -> list[str]:
    """Ids of the points whose curves `figures` draws."""
    return [row.entry.point.point_id for row in longest(seen.rows)]


def figures(seen: Review, curves: pa.Table) -> Iterator[Drawn]:
    """Those that there is something to draw for; `curves` is a ledger table with `CURVE_COLUMNS` of `curve_points`."""
    costs, distances = curves_of(seen.grid, curves)
    title, rows = seen.title, seen.rows
    for name, alt, figure in (
        ("success", "success against the horizon, by planner", success_figure(rows, title)),
        ("differences", "differences from the first planner on the same problems", differences_figure(rows, title)),
        ("seconds", "success against planning seconds", seconds_figure(rows, title)),
        ("failures", "how cells ended", failures_figure(rows, seen.cells, title)),
        ("model", "success in the world model and in the simulator", model_figure(rows, title)),
        ("profile", "performance profile over all settings", profile_figure(seen.overall, title)),
        ("costs", "predicted cost while planning", costs_figure(rows, costs, title)),
        ("distances", "distance to the goal while plans are executed", distances_figure(rows, distances, title)),
    ):
        if figure is not None:
            yield Drawn(name, alt, figure)
