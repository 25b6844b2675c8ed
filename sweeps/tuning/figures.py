"""Figures of a study: history, importances, parallel coordinates, and the front of several objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from orchestrator.tuning.objectives import Objective
from orchestrator.tuning.search_space import Dimension, Range, Space
from orchestrator.tuning.trials import State, TrialView
from sweeps.reports.figure import COLOURS, write_figure

BLUE, ORANGE, GREEN, GREY = COLOURS[0], COLOURS[1], COLOURS[2], "#999999"


def draw(
    folder: Path,
    views: Sequence[TrialView],
    space: Space,
    objectives: Sequence[Objective],
    importances: Mapping[str, float],
    front: Sequence[int],
) -> list[Path]:
    """Write the figures that have data, and return their files; `front` holds numbers of trials."""
    ended = [
        view for view in views if view.values and view.state in (State.COMPLETE, State.PRUNED) and "conflict" not in view.notes
    ]
    if not ended:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    first = objectives[0]
    files = [
        _history(folder / "history.png", ended, first),
        _parallel(folder / "parallel.png", ended, space, first),
    ]
    if importances:
        files.append(_importances(folder / "importances.png", importances, first))
    if len(objectives) > 1:
        files.append(_front(folder / "front.png", ended, objectives, front))
    return files


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _axis_label(objective: Objective) -> str:
    better = "more is better" if objective.larger else "less is better"
    return f"{objective.name}{f' [{objective.unit}]' if objective.unit else ''} ({better})"


def _history(file: Path, views: Sequence[TrialView], objective: Objective) -> Path:
    figure, axis = _figure(7.0, 3.6)
    complete = [view for view in views if view.state is State.COMPLETE]
    pruned = [view for view in views if view.state is State.PRUNED]
    for mine, colour, marker, label in (
        (pruned, GREY, "x", "pruned: mean of the cells seen"),
        (complete, BLUE, "o", "complete"),
    ):
        axis.scatter(
            [view.number for view in mine], [view.values[0] for view in mine], c=colour, marker=marker, s=24, label=label
        )
    best: list[float] = []
    for view in complete:
        value = view.values[0]
        best.append(value if not best or objective.better(value, best[-1]) else best[-1])
    axis.step([view.number for view in complete], best, where="post", c=ORANGE, label="best so far")
    axis.set_xlabel("trial")
    axis.set_ylabel(_axis_label(objective))
    axis.set_title(f"{len(views)} trials, {len(pruned)} pruned")
    axis.legend(frameon=False, fontsize=9)
    write_figure(figure, file)
    return file


def _importances(file: Path, importances: Mapping[str, float], objective: Objective) -> Path:
    figure, axis = _figure(6.0, 0.9 + 0.32 * len(importances))
    names = sorted(importances, key=lambda name: importances[name])
    axis.barh(names, [importances[name] for name in names], color=BLUE)
    axis.set_xlabel(f"importance for a good {objective.name} (PED-ANOVA)")
    write_figure(figure, file)
    return file


def _parallel(file: Path, views: Sequence[TrialView], space: Space, objective: Objective) -> Path:
    figure, axis = _figure(max(7.0, 1.05 * (len(space.names) + 1)), 4.4)
    values = np.array([view.values[0] for view in views])
    scale = Normalize(*np.quantile(values, [0.0, 0.9] if not objective.larger else [0.1, 1.0]))
    colours = colormaps["viridis" if objective.larger else "viridis_r"]
    # The best trials are drawn last, on top.
    for index in np.argsort(values if objective.larger else -values):
        view = views[index]
        heights = [_height(dimension.name, view, space) for dimension in space.dimensions]
        shown = [(x, y) for x, y in enumerate(heights) if y is not None]
        axis.plot(*zip(*shown, strict=True), color=colours(scale(values[index])), alpha=0.7, linewidth=1.2)
    for x, dimension in enumerate(space.dimensions):
        axis.axvline(x, color="black", linewidth=0.6)
        ends = _ends(dimension)
        axis.text(x, -0.03, ends[0], ha="center", va="top", fontsize=8)
        axis.text(x, 1.03, ends[1], ha="center", va="bottom", fontsize=8)
    axis.set_xticks(range(len(space.names)), space.names, rotation=30, ha="right")
    axis.tick_params(axis="x", pad=14)
    axis.set_yticks([])
    axis.set_ylim(-0.02, 1.02)
    for side in ("top", "bottom", "left", "right"):
        axis.spines[side].set_visible(False)
    figure.colorbar(ScalarMappable(scale, colours), ax=axis, label=_axis_label(objective), pad=0.01)
    write_figure(figure, file)
    return file


def _ends(dimension: Dimension) -> tuple[str, str]:
    """The labels below and above a setting's axis."""
    if isinstance(dimension, Range):
        return f"{dimension.low:g}", f"{dimension.high:g}"
    return str(dimension.choices[0]), str(dimension.choices[-1])


def _height(name: str, view: TrialView, space: Space) -> float | None:
    """Position of a trial's setting on its axis, in `[0, 1]`; None if the trial lacks it."""
    dimension = next(dimension for dimension in space.dimensions if dimension.name == name)
    value = view.settings.get(name)
    if value is None:
        return None
    if not isinstance(dimension, Range):
        return dimension.choices.index(value) / max(1, len(dimension.choices) - 1)
    low, high, position = (np.log(x) if dimension.log else x for x in (dimension.low, dimension.high, float(value)))
    return float((position - low) / (high - low))


def _front(file: Path, views: Sequence[TrialView], objectives: Sequence[Objective], front: Sequence[int]) -> Path:
    figure, axis = _figure(6.0, 4.0)
    complete = [view for view in views if len(view.values) == len(objectives)]
    best = sorted((view for view in complete if view.number in front), key=lambda view: view.values[1])
    axis.scatter([v.values[1] for v in complete], [v.values[0] for v in complete], c=GREY, s=18, label="trials")
    axis.plot([v.values[1] for v in best], [v.values[0] for v in best], c=ORANGE, marker="o", label="front")
    for view in best:
        axis.annotate(str(view.number), (view.values[1], view.values[0]), textcoords="offset points", xytext=(4, 4), fontsize=8)
    if all(view.values[1] > 0 for view in complete):
        axis.set_xscale("log")
    axis.set_xlabel(_axis_label(objectives[1]))
    axis.set_ylabel(_axis_label(objectives[0]))
    axis.legend(frameon=False, fontsize=9)
    write_figure(figure, file)
    return file
