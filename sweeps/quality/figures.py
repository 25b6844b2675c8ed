"""Figures of the planning-quality page, from the results table alone; those of success are the ones of a sweep's report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sweeps.analysis.rows import MeasuredPoint
from sweeps.quality.sweeps import OWN, SENSITIVITY
from sweeps.quality.tables import StudyPoint, points_of_part
from sweeps.reports.figure import Layout, count_range, new_figure, plain_log_ticks, problems_per_point, save, set_title
from sweeps.reports.figure_rates import model_figure, seconds_figure, success_figure
from world_models.files.names import inside

TITLE = "own budgets"


def draw(points: Sequence[StudyPoint], facts: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write all figures there are numbers for, as PNG; the same points give the same bytes."""
    own = points_of_part(points, OWN)
    made: dict[str, Figure | None] = {
        "success": success_figure(own, TITLE),
        "seconds": seconds_figure(own, TITLE),
        "growth": growth_figure(own, TITLE),
        "model": model_figure(own, TITLE),
        "sensitivity": sensitivity_figure(points_of_part(points, SENSITIVITY), facts["factors"]),
    }
    return [save(figure, inside(folder, f"{name}.png")) for name, figure in made.items() if figure is not None]


def growth_figure(points: Sequence[MeasuredPoint], title: str) -> Figure | None:
    """How planning seconds grow with the horizon, a panel per task, a line per planner."""
    points = [one for one in points if one.plan_seconds]
    if not points:
        return None
    layout = Layout.of(points)
    figure, axes = layout.figure("planning seconds per problem", share_y=False)
    for axis, panel in zip(axes, layout.panels, strict=True):
        mine = layout.rows(points, panel)
        for planner in layout.planners:
            line = sorted((one for one in mine if one.planner == planner), key=lambda one: one.horizon)
            if line:
                axis.plot(
                    [one.horizon for one in line],
                    [one.plan_seconds or 0.0 for one in line],
                    label=planner,
                    markersize=5,
                    linewidth=1.5,
                    **layout.style(planner),
                )
        axis.set_yscale("log")
        plain_log_ticks(axis.yaxis)
        axis.set_xlabel("horizon (environment steps)")
        axis.set_xticks(sorted({one.horizon for one in mine}))
    layout.legend(figure, axes)
    set_title(figure, f"{title}: {problems_per_point(points)}{layout.left_out}")
    return figure


def sensitivity_figure(points: Sequence[MeasuredPoint], factors: Mapping[str, Sequence[float]]) -> Figure | None:
    """Heat maps of success by factors on goal weight and noise."""
    conditions = list(dict.fromkeys((one.task, one.horizon) for one in points))
    if not conditions:
        return None
    gammas, sigmas = (sorted({pair[axis] for pair in factors.values()}) for axis in (0, 1))
    figure = new_figure(max(6.0, 0.9 + 3.6 * len(conditions)), 3.8)
    axes = list(figure.subplots(1, len(conditions), squeeze=False)[0])
    for axis, (task, horizon) in zip(axes, conditions, strict=True):
        mine = {one.planner: one for one in points if (one.task, one.horizon) == (task, horizon)}
        rates = np.full((len(sigmas), len(gammas)), np.nan)
        for label, one in mine.items():
            gamma, sigma = factors[label]
            row, column = sigmas.index(sigma), gammas.index(gamma)
            rates[row, column] = math.nan if one.success.value is None else one.success.value
            text = "-" if one.success.value is None else f"{one.success.value:.2f}"
            axis.text(
                column, row, text, ha="center", va="center", fontsize=8, color="white" if rates[row, column] < 0.6 else "black"
            )
        axis.imshow(rates, vmin=0, vmax=1, cmap="viridis", origin="lower", aspect="auto")
        axis.set_xticks(range(len(gammas)), [f"{value:g}" for value in gammas])
        axis.set_yticks(range(len(sigmas)), [f"{value:g}" for value in sigmas])
        axis.set_xlabel("goal weight, times the tuned one")
        axis.set_title(f"{task} H{horizon}", fontsize=11)
    axes[0].set_ylabel("noise, times the tuned one")
    figure.suptitle(
        f"GRASP's success in the simulator, n = {count_range([one.success.trials for one in points])} problems per square",
        fontsize=11,
    )
    return figure
