"""The parts that figures share: colours, panels, titles with n, and saving to files."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any, TypeVar

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from sweeps.analysis.rows import MeasuredPoint, judge_of
from world_models.files.writing import write_file

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, which suits every common form of colour vision."""

MARKERS = "osD^vPX"

PANELS, LINES = 12, 14
"""Largest numbers of panels and planners in a figure; more could not be read, and report.csv has all."""

PANELS_PER_ROW = 3
"""Panels side by side; with more, the text would be too small at the width of a page."""

LETTERS_PER_INCH = 11.0
"""Letters of a title per inch."""

Panel = tuple[str, str]
"""A task and a world model."""

P = TypeVar("P", bound=MeasuredPoint)


@dataclass(frozen=True)
class Layout:
    """Which panels and planners a figure shows, of how many, and how each planner looks."""

    panels: tuple[Panel, ...]
    planners: tuple[str, ...]
    left_out: str
    """Text for the title on what is left out; empty when everything is shown."""
    judge: str = "simulator"
    """The judge of plans, in words: the simulator, or the model where there is none."""

    @staticmethod
    def of(rows: Sequence[MeasuredPoint]) -> Layout:
        """The layout for rows that have cells that ran."""
        every_panel = list(dict.fromkeys(row.panel for row in rows))
        every_planner = list(dict.fromkeys(row.planner for row in rows))
        panels, planners = every_panel[:PANELS], every_planner[:LINES]
        left_out = _left_out("planners", len(planners), len(every_planner)) + _left_out("tasks", len(panels), len(every_panel))
        return Layout(tuple(panels), tuple(planners), left_out, judge_of(rows))

    def title(self, panel: Panel) -> str:
        """The task, and its model where a task has several."""
        several = len(self.panels) > len({task for task, _ in self.panels})
        return "\n".join(panel) if several else panel[0]

    def rows(self, rows: Sequence[P], panel: Panel) -> list[P]:
        """The rows of a panel."""
        return [row for row in rows if row.panel == panel and row.planner in self.planners]

    def colour(self, planner: str) -> str:
        """Colour of a planner, the same in every figure of the sweep."""
        return COLOURS[self.planners.index(planner) % len(COLOURS)]

    def marker(self, planner: str) -> str:
        """Marker of a planner; planners that share a colour have different ones."""
        i = self.planners.index(planner)
        return MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]

    def style(self, planner: str, connected: bool = True) -> dict[str, Any]:
        """A planner's line for matplotlib; where its colour is used again, the line is dashed and the marker hollow."""
        again, colour = self.planners.index(planner) >= len(COLOURS), self.colour(planner)
        line = "none" if not connected else "--" if again else "-"
        face = "white" if again else colour
        return {"color": colour, "marker": self.marker(planner), "linestyle": line, "markerfacecolor": face}

    def success_figure(self) -> tuple[Figure, list[Axes]]:
        """An empty figure of success rates."""
        return self.figure(f"success in the {self.judge}")

    def figure(self, y_label: str, share_y: bool = True) -> tuple[Figure, list[Axes]]:
        """An empty figure with titled panels in rows; `legend` completes it."""
        across = min(PANELS_PER_ROW, len(self.panels))
        down = math.ceil(len(self.panels) / across)
        crowded = len(self.planners) > 3 * across
        figure = new_figure(0.6 + max(3.1 * across, 7.0 * crowded, 5.0), 0.7 + 2.8 * down + 0.7 * crowded)
        every = list(figure.subplots(down, across, sharey=share_y, squeeze=False).flat)
        axes, spare = every[: len(self.panels)], every[len(self.panels) :]
        for axis in spare:
            axis.set_visible(False)
        for axis, panel in zip(axes, self.panels, strict=True):
            axis.set_title(self.title(panel), fontsize=11)
            style_axis(axis)
        for axis in axes[::across]:
            axis.set_ylabel(y_label)
        return figure, axes

    def legend(self, figure: Figure, axes: Sequence[Axes]) -> None:
        """Add one legend for all panels."""
        found = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        labels = [planner for planner in self.planners if planner in found] + [x for x in found if x not in self.planners]
        legend_below(figure, {label: found[label] for label in labels})


Draw = Callable[[], Figure | None]
"""Makes a figure; None when there is nothing to draw."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure without a window; width and height are in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def set_title(figure: Figure, text: str) -> None:
    """Set the figure's title, in as many lines as its width needs."""
    letters = int(LETTERS_PER_INCH * figure.get_figwidth())
    figure.suptitle("\n".join(fill(line, letters) for line in text.splitlines()), fontsize=11)


def legend_below(figure: Figure, handles: Mapping[str, Any], columns: int = 5) -> None:
    """Add a legend of handles by label, in at most `columns` columns and no more than fit the width."""
    widest = 0.6 + max(map(len, handles)) / LETTERS_PER_INCH
    columns = max(1, min(len(handles), columns, int(figure.get_figwidth() / widest)))
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns, frameon=False)


def style_axis(axis: Axes) -> None:
    """Remove the axis's box, and draw faint horizontal lines behind everything."""
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def plain_log_ticks(axis: Axis) -> None:
    """Ticks of a log scale at 1, 2 and 5 times powers of ten, in plain numbers, and nothing between them."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def problems_per_point(rows: Sequence[MeasuredPoint]) -> str:
    """The number of problems per point, for titles."""
    return f"n = {count_range([row.success.trials for row in rows])} problems per point"


def count_range(counts: Sequence[int]) -> str:
    """The number if all counts are equal, else the smallest and the largest."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def save(figure: Figure, path: Path) -> Path:
    """Save a figure in the format that the file's suffix names; the same figure gives the same bytes. Raises WriteError."""
    freeze_layout(figure)
    dated = {".png": {"Software": None}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    write_figure(figure, path, dated.get(path.suffix))
    return path


def write_figure(figure: Figure, path: Path, metadata: Mapping[str, None] | None = None) -> None:
    """Write a figure as it is. Raises WriteError."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix.removeprefix("."), dpi=150, metadata=metadata)
    write_file(path, drawn.getvalue())


def plain_texts(figure: Figure) -> None:
    """Let no label be read as a formula: a `$` in it is a dollar sign. Ticks that matplotlib writes as formulas stay."""
    for text in figure.findobj(Text):
        if isinstance(text, Text) and "$" in text.get_text() and not text.get_text().startswith("$\\mathdefault"):
            text.set_parse_math(False)


def freeze_layout(figure: Figure) -> None:
    """Lay the figure out once: drawing it again in another format then takes half the time."""
    plain_texts(figure)
    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def _left_out(what: str, shown: int, all_of_them: int) -> str:
    return "" if shown == all_of_them else f"\nthe first {shown} of {all_of_them} {what}"
