"""Success against horizon, one panel a task and model, a line a planner, with Wilson's intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sweeps.report import Row

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette: told apart with every common colour vision."""

MARKERS = "osD^vPX"


def success_figure(rows: Sequence[Row], title: str, path: Path) -> Path | None:
    """Write the PNG; None when no cell has run."""
    rows = [row for row in rows if row.success.trials]
    if not rows:
        return None
    panels = list(dict.fromkeys((row.entry.task, row.entry.point.model) for row in rows))
    several = len(panels) > len({task for task, _ in panels})
    planners = list(dict.fromkeys(row.entry.planner for row in rows))
    figure = Figure(figsize=(0.6 + 3.1 * len(panels), 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (task, model) in zip(axes, panels, strict=True):
        mine = [row for row in rows if (row.entry.task, row.entry.point.model) == (task, model)]
        _panel(axis, mine, planners)
        axis.set_title(f"{task}\n{model}" if several else task, fontsize=11)
    axes[0].set_ylabel("success in the simulator")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(planners), frameon=False)
    trials = sorted({row.success.trials for row in rows})
    count = str(trials[0]) if len(trials) == 1 else f"{trials[0]} to {trials[-1]}"
    figure.suptitle(f"{title}: n = {count} problems a point, 95 % Wilson intervals", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path


def _panel(axis: Axes, rows: Sequence[Row], planners: Sequence[str]) -> None:
    horizons = sorted({row.entry.point.horizon for row in rows})
    spread = 0.04 * (horizons[-1] - horizons[0] or horizons[0])
    for i, planner in enumerate(planners):
        mine = sorted((row for row in rows if row.entry.planner == planner), key=lambda row: row.entry.point.horizon)
        shift = spread * (i - (len(planners) - 1) / 2)  # side by side: intervals that overlap stay readable
        values = [row.success.value or 0.0 for row in mine]
        low = [value - row.success.interval[0] for value, row in zip(values, mine, strict=True)]
        high = [row.success.interval[1] - value for value, row in zip(values, mine, strict=True)]
        axis.errorbar(
            [row.entry.point.horizon + shift for row in mine],
            values,
            yerr=[low, high],
            label=planner,
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            markersize=6,
            linewidth=1.5,
            capsize=3,
        )
    axis.set_xticks(horizons)
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlabel("horizon (environment steps)")
    axis.grid(axis="y", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
