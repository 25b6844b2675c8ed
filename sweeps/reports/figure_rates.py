"""Figures of success: against the horizon, planning seconds, the model's prediction, and the first planner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.analysis.comparison import LEVEL, Verdict
from sweeps.analysis.intervals import Rate
from sweeps.analysis.rows import MeasuredPoint, Row
from sweeps.reports.figure import Layout, new_figure, plain_log_ticks, problems_per_point, set_title, style_axis

INTERVALS, LEFT_OUT = "95 % Wilson intervals", "intervals are in report.csv"
MANY_HORIZONS = 12
"""Number of a planner's horizons above which intervals are drawn as a band, or not at all: they would hide each other."""
SHOWN_DIFFERENCES = 40
CORNERS = ((4, 4, "left"), (-4, 4, "right"), (4, -10, "left"), (-4, -10, "right"))
"""Offsets of a number from its marker, by planner, so that those of neighbouring points can be read."""
OVERLAP_GAP = 0.03
"""Distance between the marks of points that coincide."""


def success_figure(rows: Sequence[MeasuredPoint], title: str) -> Figure | None:
    """Success against the horizon, with a panel per task and model and a line per planner."""
    rows = [row for row in rows if row.success.trials]
    if not rows:
        return None
    layout = Layout.of(rows)
    figure, axes = layout.success_figure()
    for axis, panel in zip(axes, layout.panels, strict=True):
        _against_horizon(axis, layout.rows(rows, panel), layout)
    layout.legend(figure, axes)
    set_title(figure, f"{title}: {problems_per_point(rows)}, {INTERVALS}{layout.left_out}")
    return figure


def seconds_figure(rows: Sequence[MeasuredPoint], title: str) -> Figure | None:
    """Success against planning seconds, all trials counted; a planner's horizons are joined."""
    rows = [row for row in rows if row.success.trials and row.plan_seconds]
    if not rows:
        return None
    layout = Layout.of(rows)
    figure, axes = layout.success_figure()
    numbers = ""
    for axis, panel in zip(axes, layout.panels, strict=True):
        mine = layout.rows(rows, panel)
        few = 1 < len({row.horizon for row in mine}) <= MANY_HORIZONS
        numbers = "; numbers are horizons" if few else numbers
        for planner in layout.planners:
            line = [row for row in _by_horizon(mine) if row.planner == planner]
            _errorbar(
                axis, [row.plan_seconds or 0.0 for row in line], line, layout, planner, connected=len(line) <= MANY_HORIZONS
            )
            for row in line if few else []:
                at = (row.plan_seconds or 0.0, row.success.value or 0.0)
                x, y, side = CORNERS[layout.planners.index(planner) % len(CORNERS)]
                axis.annotate(str(row.horizon), at, (x, y), textcoords="offset points", ha=side, fontsize=7)
        axis.set_xscale("log")
        plain_log_ticks(axis.xaxis)
        axis.set_xlabel("planning seconds per problem (all trials)")
        axis.set_ylim(-0.03, 1.08)
    layout.legend(figure, axes)
    set_title(figure, f"{title}: {problems_per_point(rows)}, {_shown(rows)}{numbers}{layout.left_out}")
    return figure


def model_figure(rows: Sequence[MeasuredPoint], title: str) -> Figure | None:
    """Success in the simulator against success in the model; below the diagonal, plans exploit the model's errors."""
    rows = [row for row in rows if row.success.trials and row.in_model.trials and not row.judged_in_model]
    if not rows:
        return None
    layout = Layout.of(rows)
    figure, axes = layout.success_figure()
    for axis, panel in zip(axes, layout.panels, strict=True):
        axis.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":")
        mine = layout.rows(rows, panel)
        positions = _side_by_side(mine)
        for planner in layout.planners:
            line = [(x, row) for x, row in zip(positions, mine, strict=True) if row.planner == planner]
            _errorbar(axis, [x for x, _ in line], [row for _, row in line], layout, planner, connected=False)
        axis.set_xlim(min([-0.03, *(x - 0.03 for x in positions)]), max([1.03, *(x + 0.03 for x in positions)]))
        axis.set_ylim(-0.03, 1.03)
        axis.set_xlabel("success in the world model")
    layout.legend(figure, axes)
    set_title(
        figure,
        f"{title}: {problems_per_point(rows)}, one point per horizon, equal ones side by side, {_shown(rows)}{layout.left_out}",
    )
    return figure


def differences_figure(rows: Sequence[Row], title: str) -> Figure | None:
    """Paired differences in success from the first planner, with intervals; hollow where the adjusted test says unclear."""
    every = [row for row in rows if row.versus is not None and row.versus.success.pairs]
    if not every:
        return None
    shown = every[:SHOWN_DIFFERENCES]
    layout = Layout.of(rows)
    figure = new_figure(7.6, 1.6 + 0.26 * len(shown))
    axis = figure.subplots()
    style_axis(axis)
    axis.axvline(0, color="#999999", linewidth=1)
    for y, row in enumerate(shown):
        assert row.versus is not None
        paired = row.versus.success
        (low, high), value = paired.interval, paired.difference or 0.0
        colour = layout.colour(row.planner) if row.planner in layout.planners else "#000000"
        axis.errorbar(
            [value],
            [y],
            xerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
            fmt=layout.marker(row.planner) if row.planner in layout.planners else "o",
            color=colour,
            markerfacecolor="white" if row.versus.verdict is Verdict.UNCLEAR else colour,
            capsize=3,
        )
    axis.set_yticks(range(len(shown)), [_row_label(row, layout) for row in shown], fontsize=8)
    axis.set_ylim(len(shown) - 0.4, -0.6)
    axis.set_xlim(-1.05, 1.05)
    references = {row.reference for row in shown}
    axis.set_xlabel(
        f"success minus that of {references.pop() if len(references) == 1 else 'the first planner'}, on the same problems"
    )
    cut = "" if len(shown) == len(every) else f"\nthe first {len(shown)} of {len(every)} comparisons"
    pairs = [row.versus.success.pairs for row in shown if row.versus is not None]
    count = str(pairs[0]) if len(set(pairs)) == 1 else f"{min(pairs)} to {max(pairs)}"
    set_title(figure, f"{title}: n = {count} pairs, 95 % intervals\nhollow: unclear (adjusted p above {LEVEL}){cut}")
    return figure


def _row_label(row: Row, layout: Layout) -> str:
    task = layout.title((row.task, row.model)).replace("\n", ", ")
    return f"{task} H{row.horizon}  {row.planner}"


def _by_horizon(rows: Sequence[MeasuredPoint]) -> list[MeasuredPoint]:
    return sorted(rows, key=lambda row: row.horizon)


def _shown(rows: Sequence[MeasuredPoint]) -> str:
    """The words of a title on the intervals of points."""
    counts = Counter((*row.panel, row.planner) for row in rows)
    return LEFT_OUT if max(counts.values()) > MANY_HORIZONS else INTERVALS


def _against_horizon(axis: Axes, rows: Sequence[MeasuredPoint], layout: Layout) -> None:
    horizons = sorted({row.horizon for row in rows})
    gaps = [after - before for before, after in pairwise(horizons)]
    count = len(layout.planners)
    spread = min([0.04 * (horizons[-1] - horizons[0] or horizons[0]), *(0.6 * gap / count for gap in gaps)])
    for i, planner in enumerate(layout.planners):
        mine = [row for row in _by_horizon(rows) if row.planner == planner]
        shift = spread * (i - (count - 1) / 2)  # side by side: intervals that overlap stay readable
        _errorbar(axis, [row.horizon + shift for row in mine], mine, layout, planner)
    axis.set_xticks(horizons[:: 1 + len(horizons) // 10])
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlabel("horizon (environment steps)")


def _side_by_side(rows: Sequence[MeasuredPoint]) -> list[float]:
    """Each row's success in the model, shifted so that planners that coincide are side by side."""
    points = [(row.in_model.value or 0.0, row.success.value or 0.0) for row in rows]
    positions = []
    for row, point in zip(rows, points, strict=True):
        here = list(dict.fromkeys(other.planner for other, at in zip(rows, points, strict=True) if at == point))
        positions.append(point[0] + OVERLAP_GAP * (here.index(row.planner) - (len(here) - 1) / 2))
    return positions


def _errorbar(
    axis: Axes, x: Sequence[float], rows: Sequence[MeasuredPoint], layout: Layout, planner: str, connected: bool = True
) -> None:
    """Draw a planner's success with intervals."""
    if not rows:
        return
    if len(rows) > MANY_HORIZONS:
        _dense_line(axis, x, rows, layout, planner, connected)
        return
    below, above = _reach([row.success for row in rows])
    axis.errorbar(
        list(x),
        [row.success.value or 0.0 for row in rows],
        yerr=[below, above],
        label=planner,
        markersize=6,
        linewidth=1.5,
        elinewidth=1.5,
        capsize=3,
        **layout.style(planner, connected),
    )


def _dense_line(
    axis: Axes, x: Sequence[float], rows: Sequence[MeasuredPoint], layout: Layout, planner: str, connected: bool
) -> None:
    """Draw a planner's success at many horizons: a line in a band of intervals, or points alone."""
    colour, marker = layout.colour(planner), layout.marker(planner)
    values = [row.success.value or 0.0 for row in rows]
    if not connected:
        axis.plot(x, values, linestyle="none", marker=marker, markersize=4, alpha=0.7, color=colour, label=planner)
        return
    axis.plot(x, values, linewidth=1.5, marker=marker, markersize=5, markevery=len(rows) // 6, color=colour, label=planner)
    low, high = zip(*(row.success.interval for row in rows), strict=True)
    axis.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0)


def _reach(rates: Sequence[Rate]) -> tuple[list[float], list[float]]:
    """How far the intervals reach below and above the rates."""
    values = [rate.value or 0.0 for rate in rates]
    below = [max(0.0, value - rate.interval[0]) for value, rate in zip(values, rates, strict=True)]
    above = [max(0.0, rate.interval[1] - value) for value, rate in zip(values, rates, strict=True)]
    return below, above
