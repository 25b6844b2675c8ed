"""Figures over all problems: performance profiles, and how cells fail."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np
from matplotlib.figure import Figure

from sweeps.analysis.aggregates import TAUS, Overall
from sweeps.analysis.point_cells import PointCells
from sweeps.analysis.rows import MeasuredPoint
from sweeps.reports.figure import (
    COLOURS,
    MARKERS,
    Layout,
    count_range,
    legend_below,
    new_figure,
    set_title,
    style_axis,
)


class CellEnding(Enum):
    """How a cell ended, and with what colour and hatch it is drawn."""

    SOLVED = "solved"
    PREDICTED_SUCCESS = "missed: the model predicted success"
    PREDICTED_MISS = "missed, as the model predicted"
    UNPREDICTED = "missed: the model makes no prediction"
    NON_FINITE = "missed: the plan became non-finite"
    FAILED = "failed: no result"


_LOOKS = {
    CellEnding.SOLVED: (COLOURS[2], ""),
    CellEnding.PREDICTED_SUCCESS: (COLOURS[1], "///"),
    CellEnding.PREDICTED_MISS: (COLOURS[0], ""),
    CellEnding.UNPREDICTED: (COLOURS[5], ""),
    CellEnding.NON_FINITE: (COLOURS[3], "xx"),
    CellEnding.FAILED: (COLOURS[6], ""),
}


def count_endings(cells: PointCells) -> dict[CellEnding, int]:
    """Numbers of a point's cells by their ending."""
    missed = cells.ran & ~cells.success
    broken = missed & cells.non_finite
    rest = missed & ~broken
    unknown = np.isnan(cells.predicted_success)
    return {
        CellEnding.SOLVED: int((cells.ran & cells.success).sum()),
        CellEnding.PREDICTED_SUCCESS: int((rest & (cells.predicted_success == 1)).sum()),
        CellEnding.PREDICTED_MISS: int((rest & (cells.predicted_success == 0)).sum()),
        CellEnding.UNPREDICTED: int((rest & unknown).sum()),
        CellEnding.NON_FINITE: int(broken.sum()),
        CellEnding.FAILED: int((~cells.ran).sum()),
    }


def failures_figure(rows: Sequence[MeasuredPoint], title: str) -> Figure | None:
    """How the cells of each planner ended, over all horizons together."""
    rows = [row for row in rows if len(row.cells) and not row.judged_in_model]
    if not rows:
        return None
    layout = Layout.of(rows)
    figure, axes = layout.figure("share of cells")
    totals = []
    for axis, panel in zip(axes, layout.panels, strict=True):
        mine = layout.rows(rows, panel)
        planners = list(dict.fromkeys(row.planner for row in mine))
        below = np.zeros(len(planners))
        counted = {planner: [count_endings(row.cells) for row in mine if row.planner == planner] for planner in planners}
        sums = np.array([sum(sum(kinds.values()) for kinds in counted[planner]) for planner in planners])
        totals += sums.tolist()
        for kind in CellEnding:
            share = np.array([sum(kinds[kind] for kinds in counted[planner]) for planner in planners]) / sums
            if share.any():
                colour, hatch = _LOOKS[kind]
                axis.bar(
                    planners, share, bottom=below, color=colour, hatch=hatch, edgecolor="white", label=kind.value, width=0.7
                )
            below = below + share
        axis.tick_params(axis="x", labelsize=8)
        if len(planners) > 3:
            for label in axis.get_xticklabels():
                label.set(rotation=30, ha="right", rotation_mode="anchor")
        axis.set_ylim(0, 1)
    _ending_legend(figure, axes)
    horizons = sorted({row.horizon for row in rows if row.panel in layout.panels})
    words = f"H = {', '.join(map(str, horizons))}" if len(horizons) < 8 else f"{len(horizons)} horizons"
    set_title(figure, f"{title}: how cells ended, {words}, n = {count_range(totals)} cells per bar{layout.left_out}")
    return figure


def profile_figure(found: Sequence[Overall], title: str) -> Figure | None:
    """Share of problems on which at least a given share of the way to the goal was covered, over all settings."""
    if not found:
        return None
    figure = new_figure(5.6, 3.9)
    axis = figure.subplots()
    style_axis(axis)
    for i, one in enumerate(found[: 2 * len(COLOURS)]):
        dashes = "-" if i < len(COLOURS) else "--"
        axis.plot(
            TAUS,
            one.profile,
            dashes,
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],
            markersize=5,
            markevery=(3 * i % 20, 20),
            linewidth=1.8,
            label=one.planner,
        )
    axis.set_xlabel("share of the way to the goal, at least")
    axis.set_ylabel("share of problems")
    axis.set_ylim(0, 1.02)
    legend_below(figure, {str(line.get_label()): line for line in axis.lines})
    count = count_range([one.problems for one in found])
    set_title(figure, f"{title}: n = {count} problems per planner, {found[0].conditions} settings")
    return figure


def _ending_legend(figure: Figure, axes: Sequence) -> None:
    found = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    labels = [kind.value for kind in CellEnding if kind.value in found]
    legend_below(figure, {label: found[label] for label in labels}, columns=2)
