"""The figures of `grasp diagnose`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from planners.diagnostics.gradients import early_over_late, normalised
from sweeps.analysis.rows import Row
from sweeps.diagnose.measure import CONTROL, CONTROL_GAIN, LIFTED, SHOOTING, BrittleRow, CurvatureRow, GradientRow
from sweeps.reports.figure import COLOURS, MARKERS, write_figure

NAMES = {SHOOTING: "shooting (GD)", LIFTED: "lifted (GRASP)", CONTROL: f"control: unstable linear world, gain {CONTROL_GAIN}"}
COLOUR = {SHOOTING: COLOURS[1], LIFTED: COLOURS[0], CONTROL: "0.5"}
MARKER = {SHOOTING: MARKERS[0], LIFTED: MARKERS[1], CONTROL: ""}


def curvature_figure(rows: Sequence[CurvatureRow], title: str, path: Path) -> Path:
    """Largest Gauss-Newton eigenvalue and condition number against T, one column per iterate; bands are quartiles."""
    iterates = list(dict.fromkeys(row.iterate for row in rows if row.objective != CONTROL))
    quantities: list[tuple[str, Callable[[CurvatureRow], Tensor]]] = [
        ("largest eigenvalue\n(cost / normalised action²)", lambda row: row.values.gauss_newton),
        ("condition number", lambda row: row.condition),
    ]
    known = [pair for pair in quantities if not any(bool(pair[1](row).isnan().all()) for row in rows)]
    figure = _figure(3.3 * len(iterates) + 0.8, 2.6 * len(known) + 1.0)
    axes = figure.subplots(len(known), len(iterates), sharex=True, sharey="row", squeeze=False)
    for line, (label, value) in zip(axes, known, strict=True):
        for axis, iterate in zip(line, iterates, strict=True):
            for objective in NAMES:
                mine = [row for row in rows if row.objective == objective and (objective == CONTROL or row.iterate == iterate)]
                data = np.stack([value(row).cpu().numpy() for row in mine], 1)
                steps = [row.steps for row in mine]
                _band(axis, steps, np.where(np.isfinite(data), data, np.nan), objective)
            axis.set_yscale("log")
            axis.grid(alpha=0.3)
        line[0].set_ylabel(label)
    for axis, iterate in zip(axes[0], iterates, strict=True):
        axis.set_title(_iterate_title(iterate), fontsize=10)
    for axis in axes[-1]:
        axis.set_xlabel("plan length T (model steps)")
    return _save(figure, axes[0, 0], f"{title}: curvature of the objective (Gauss-Newton), median and quartiles", path)


def gradients_figure(rows: Sequence[GradientRow], title: str, path: Path) -> Path:
    """Gradient norm by time step at the longest horizon, and early over late gradients against the horizon."""
    iterates = list(dict.fromkeys(row.iterate for row in rows))
    horizons = sorted({row.horizon for row in rows})
    figure = _figure(3.3 * len(iterates) + 0.8, 6.0)
    axes = figure.subplots(2, len(iterates), sharey="row", squeeze=False)
    for iterate, upper, lower in zip(iterates, axes[0], axes[1], strict=True):
        for objective in (SHOOTING, LIFTED):
            mine = [row for row in rows if row.objective == objective and row.iterate == iterate]
            last = next(row for row in mine if row.horizon == horizons[-1])
            data = normalised(last.norms).cpu().numpy()
            _band(upper, list(range(data.shape[1])), data, objective)
            ratios = np.stack([10 ** early_over_late(row.norms).cpu().numpy() for row in mine], 1)
            _band(lower, horizons, ratios, objective)
        upper.set_title(_iterate_title(iterate), fontsize=10)
        upper.set_xlabel(f"time step t of the action (H = {horizons[-1]})")
        upper.set_ylim(1e-4, 2)
        lower.axhline(1, color="0.5", linewidth=0.8)
        lower.axhspan(0.1, 10, color="0.5", alpha=0.1, linewidth=0)
        lower.set_xlabel("horizon (environment steps)")
        for axis in (upper, lower):
            axis.set_yscale("log")
            axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("gradient norm / largest of the plan")
    axes[1, 0].set_ylabel("early / late gradient")
    low, high = axes[1, 0].get_ylim()
    axes[1, 0].set_ylim(max(1e-6, min(low, 0.05)), min(1e6, max(high, 20)))
    return _save(figure, axes[1, 0], f"{title}: gradients by time step, median and quartiles over problems", path)


def brittleness_figure(row: BrittleRow, title: str, path: Path) -> Path:
    """Share of the distance removed against the size of the perturbation, predicted and in the simulator."""
    figure = _figure(5.2, 4.2)
    axis = figure.subplots()
    radii = np.array(row.measured.radii)
    _curve(axis, radii, row.measured.removed.cpu().numpy(), "predicted, best s' within the step", COLOURS[1], "o", 9)
    _curve(axis, radii, row.measured.removed_by_one_step.cpu().numpy(), "predicted, one gradient step", COLOURS[4], "s", 6)
    if row.truly_removed is not None:
        _curve(axis, radii, row.truly_removed.cpu().numpy(), "in the simulator, from the same s'", COLOURS[0], "D", 4)
    axis.plot(radii, radii, color="0.4", linestyle="--", label="a sound model: equal to the step")
    axis.plot([radii[0], 0.1], [0.5, 0.5], color="0.6", linestyle=":", linewidth=1)
    axis.plot([0.1, 0.1], [0.5, 1.0], color="0.6", linestyle=":", linewidth=1)
    axis.text(radii[0], 0.55, "brittle", color="0.4", fontsize=9)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_ylim(radii[0] / 2, 1.3)
    axis.set_xlabel("step ||s' - s|| / ||g - s||")
    axis.set_ylabel("share of the distance to the goal removed")
    axis.grid(alpha=0.3)
    return _save(figure, axis, f"{title}:\nstate gradients, median and quartiles over problems", path, columns=1)


def ablation_figure(rows: Sequence[Row], title: str, path: Path) -> Path:
    """Success in the simulator and in the model with Wilson's intervals, and seconds per plan."""
    figure = _figure(8.5, 1.2 + 0.5 * len(rows))
    axis, seconds = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    heights = np.arange(len(rows))[::-1]
    for rates, label, colour, marker, shift in (
        ([row.success for row in rows], "in the simulator", COLOURS[0], "o", 0.12),
        ([row.in_model for row in rows], "in the model", COLOURS[1], "s", -0.12),
    ):
        values = np.array([rate.value or 0.0 for rate in rates])
        ends = np.array([rate.interval for rate in rates])
        axis.errorbar(
            values,
            heights + shift,
            xerr=[values - ends[:, 0], ends[:, 1] - values],
            linestyle="",
            marker=marker,
            color=colour,
            capsize=3,
            label=label,
        )
    axis.set_yticks(heights, [_ablation_label(row) for row in rows])
    axis.set_xlim(-0.03, 1.03)
    axis.set_xlabel("success, 95 % Wilson intervals")
    seconds.barh(heights, [row.plan_seconds or 0.0 for row in rows], height=0.5, color="0.6")
    seconds.set_xlabel("planning seconds per problem")
    for each in (axis, seconds):
        each.grid(axis="x", alpha=0.3)
    return _save(figure, axis, f"{title}: ablation at H = {rows[0].horizon}, n = {rows[0].success.trials} problems", path)


def _ablation_label(row: Row) -> str:
    if row.versus is None:
        return row.planner
    return f"{row.planner}\n(p {row.versus.success.p_value:.2g})"


def _band(axis: Axes, x: Sequence[int], data: np.ndarray, objective: str) -> None:
    """Draw the median and quartiles over the first axis of `data`."""
    low, middle, high = np.nanquantile(data, (0.25, 0.5, 0.75), axis=0)
    style = "--" if objective == CONTROL else "-"
    marker = MARKER[objective] if len(x) <= 12 else ""
    axis.plot(x, middle, style, color=COLOUR[objective], marker=marker, markersize=5, linewidth=1.5, label=NAMES[objective])
    axis.fill_between(x, low, high, color=COLOUR[objective], alpha=0.2, linewidth=0)


def _curve(axis: Axes, x: np.ndarray, data: np.ndarray, label: str, colour: str, marker: str, size: int) -> None:
    """Draw the median and quartiles over the second axis of `data`; rows that are all NaN are left out."""
    known = np.isfinite(data).any(1)
    low, middle, high = np.nanquantile(data[known], (0.25, 0.5, 0.75), axis=1)
    axis.plot(x[known], middle, color=colour, marker=marker, markersize=size, fillstyle="none", label=label)
    # The axis is logarithmic: steps that add to the distance instead of removing some lie below it.
    axis.fill_between(x[known], np.maximum(low, 1e-9), np.maximum(high, 1e-9), color=colour, alpha=0.2, linewidth=0)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _iterate_title(name: str) -> str:
    return name if "iterations" in name else f"at {name}"


def _save(figure: Figure, axis: Axes, title: str, path: Path, columns: int = 3) -> Path:
    """Add legend and title, and write the file."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11)
    for each in figure.axes:
        each.spines[["top", "right"]].set_visible(False)
    write_figure(figure, path)
    return path
