"""Figures of the planning-quality page, from the results table alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from sweeps.analysis.intervals import Rate
from sweeps.quality.sweeps import OWN, SENSITIVITY
from sweeps.quality.tables import MeasuredPoint, points_of_part
from sweeps.reports.figure import COLOURS, MARKERS, count_range, new_figure, save, style_axis

ACROSS = 5
"""Panels side by side."""

Value = Callable[[MeasuredPoint], float | None]


def draw(points: Sequence[MeasuredPoint], facts: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write all figures there are numbers for, as PNG; the same points give the same bytes."""
    own = [one for one in points_of_part(points, OWN) if one.success.trials]
    labels = list(facts["planners"])
    made: dict[str, Figure | None] = {
        "success": success_figure(own, labels),
        "seconds": seconds_figure(own, labels),
        "growth": growth_figure(own, labels),
        "model": model_figure(own, labels),
        "sensitivity": sensitivity_figure(points_of_part(points, SENSITIVITY), facts["factors"]),
    }
    return [save(figure, folder / f"{name}.png") for name, figure in made.items() if figure is not None]


def success_figure(own: Sequence[MeasuredPoint], labels: Sequence[str]) -> Figure | None:
    """Success against the horizon, a panel a task."""

    def panel(axis: Axes, mine: Sequence[MeasuredPoint], label: str) -> None:
        """A planner on a task."""
        shift = _shift(mine, labels, label)
        line = _line(mine, label)
        _errorbar(axis, [one.horizon + shift for one in line], line, labels, label)
        axis.set_xlabel("horizon (environment steps)")
        axis.set_xticks(sorted({one.horizon for one in mine}))

    return _panels(own, labels, panel, "success in the simulator, own budgets", (-0.03, 1.03))


def seconds_figure(own: Sequence[MeasuredPoint], labels: Sequence[str]) -> Figure | None:
    """Success against planning seconds, all trials counted; numbers are horizons."""

    def panel(axis: Axes, mine: Sequence[MeasuredPoint], label: str) -> None:
        """A planner on a task."""
        line = [one for one in _line(mine, label) if one.seconds]
        _errorbar(axis, [one.seconds or 0.0 for one in line], line, labels, label)
        for one in line:
            at = (one.seconds or 0.0, one.success.value or 0.0)
            axis.annotate(str(one.horizon), at, (3, 3), textcoords="offset points", fontsize=6)
        axis.set_xscale("log")
        _plain_numbers(axis.xaxis)
        axis.set_xlabel("planning seconds a problem")

    return _panels(own, labels, panel, "success in the simulator; numbers are horizons", (-0.03, 1.06))


def growth_figure(own: Sequence[MeasuredPoint], labels: Sequence[str]) -> Figure | None:
    """How planning seconds grow with the horizon."""

    def panel(axis: Axes, mine: Sequence[MeasuredPoint], label: str) -> None:
        """A planner on a task."""
        line = [one for one in _line(mine, label) if one.seconds]
        style = _style(labels, label)
        axis.plot([one.horizon for one in line], [one.seconds or 0.0 for one in line], label=label, **style)
        axis.set_yscale("log")
        _plain_numbers(axis.yaxis)
        axis.set_xlabel("horizon (environment steps)")
        axis.set_xticks(sorted({one.horizon for one in mine}))

    return _panels(own, labels, panel, "planning seconds a problem", None)


def model_figure(own: Sequence[MeasuredPoint], labels: Sequence[str]) -> Figure | None:
    """Success in the simulator against success in the world model, a point a horizon."""

    def panel(axis: Axes, mine: Sequence[MeasuredPoint], label: str) -> None:
        """A planner on a task."""
        axis.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":")
        line = [one for one in _line(mine, label) if one.in_model.trials]
        _errorbar(axis, [one.in_model.value or 0.0 for one in line], line, labels, label, connected=False)
        axis.set_xlim(-0.03, 1.03)
        axis.set_xlabel("success in the world model")

    return _panels(own, labels, panel, "success in the simulator", (-0.03, 1.03))


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
    figure.suptitle(f"GRASP's success in the simulator, n = {_counts(points)} problems a square", fontsize=11)
    return figure


def _panels(
    points: Sequence[MeasuredPoint],
    labels: Sequence[str],
    panel: Callable[[Axes, Sequence[MeasuredPoint], str], None],
    what: str,
    limits: tuple[float, float] | None,
) -> Figure | None:
    """A panel a task, a line a planner, one legend, and n in the title."""
    tasks = list(dict.fromkeys(one.task for one in points))
    if not tasks:
        return None
    across = min(ACROSS, len(tasks))
    down = math.ceil(len(tasks) / across)
    figure = new_figure(max(7.0, 0.6 + 2.8 * across), 0.9 + 2.7 * down)
    axes = [axis for row in figure.subplots(down, across, squeeze=False, sharey=limits is not None) for axis in row]
    for axis in axes[len(tasks) :]:
        axis.set_visible(False)
    for axis, task in zip(axes, tasks, strict=False):
        mine = [one for one in points if one.task == task]
        axis.set_title(f"{task}, n = {_counts(mine)}", fontsize=10)
        style_axis(axis)
        for label in labels:
            if _line(mine, label):
                panel(axis, mine, label)
        if limits is not None:
            axis.set_ylim(*limits)
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    shown = [label for label in labels if label in handles]
    figure.legend(
        [handles[label] for label in shown], shown, loc="outside lower center", ncols=min(8, len(shown)), frameon=False
    )
    intervals = ", 95 % Wilson intervals" if limits is not None else ""
    figure.suptitle(f"{what}{intervals}\nn: problems a point", fontsize=11)
    return figure


def _plain_numbers(axis: Axis) -> None:
    """Ticks of a log scale at 1, 2 and 5 times powers of ten, and nothing between them."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _counts(points: Sequence[MeasuredPoint]) -> str:
    return count_range([one.success.trials for one in points])


def _line(points: Sequence[MeasuredPoint], label: str) -> list[MeasuredPoint]:
    return sorted((one for one in points if one.planner == label), key=lambda one: one.horizon)


def _shift(points: Sequence[MeasuredPoint], labels: Sequence[str], label: str) -> float:
    """Side by side: intervals that overlap stay readable."""
    horizons = sorted({one.horizon for one in points})
    width = 0.05 * max(horizons[-1] - horizons[0], horizons[0])
    return width * (labels.index(label) / max(1, len(labels) - 1) - 0.5)


def _style(labels: Sequence[str], label: str) -> dict[str, Any]:
    """A planner's look, the same in all figures; where a colour is used again, the line is dashed and the marker hollow."""
    i = labels.index(label)
    marker = MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]
    again: dict[str, Any] = {"linestyle": "--", "markerfacecolor": "white"} if i >= len(COLOURS) else {"linestyle": "-"}
    return {"color": COLOURS[i % len(COLOURS)], "marker": marker, "markersize": 5, "linewidth": 1.3, **again}


def _errorbar(
    axis: Axes, x: Sequence[float], line: Sequence[MeasuredPoint], labels: Sequence[str], label: str, connected: bool = True
) -> None:
    reach = np.array([_error_lengths(one.success) for one in line]).reshape(-1, 2).T
    values = [one.success.value or 0.0 for one in line]
    style = _style(labels, label)
    if not connected:
        style["linestyle"] = "none"
    axis.errorbar(list(x), values, yerr=reach, label=label, elinewidth=1.2, capsize=2, **style)


def _error_lengths(rate: Rate) -> tuple[float, float]:
    """How far the interval reaches below and above the rate."""
    value, (low, high) = rate.value or 0.0, rate.interval
    return max(0.0, value - low), max(0.0, high - value)
