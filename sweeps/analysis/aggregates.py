"""Planners over all tasks and horizons together: means, interquartile means and performance profiles (Agarwal et al. 2021).

Only settings (task, model, horizon) for which every planner has cells count, so that no planner gains by skipping hard ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from jaxtyping import Float64
from rich.box import SIMPLE_HEAD
from rich.table import Table

from sweeps.analysis.bootstrap import FEWEST_OF_SEVERAL, Interval, interquartile_interval, interquartile_mean
from sweeps.analysis.comparison import Verdict
from sweeps.analysis.intervals import mean_of_rates
from sweeps.analysis.point_cells import Condition
from sweeps.analysis.rows import MeasuredPoint

PLANNERS = 14
"""Most planners in the table; report.csv has all points."""

TAUS = np.linspace(0.0, 1.0, 101)
"""Shares of the way to the goal at which profiles are evaluated."""

CAPTION = (
    "over the settings (task, model, horizon) that all planners have and that a simulator judges, weighted equally; "
    "progress: share of the way to goal, interquartile mean over all problems; brackets: 95 % intervals, of success by Price "
    "and Bonett's formula, of progress by resampling each setting; nearer: mean probability to end nearer to the goal than the "
    "first planner; settings: on how many its success is better, worse or unclear."
)


@dataclass(frozen=True)
class Overall:
    """A planner's results over all settings."""

    planner: str
    conditions: int
    problems: int
    success: float
    """Mean of the settings' rates."""
    success_interval: Interval | None
    progress: float
    """Interquartile mean of the share of the way."""
    progress_interval: Interval | None
    nearer: float | None
    """Mean over settings of the probability to end nearer than the reference; None for the reference."""
    verdicts: Mapping[Verdict, int]
    profile: Float64[np.ndarray, " taus"]
    """Share of problems in which at least that share of the way was covered, with settings weighted equally."""


def overall(rows: Sequence[MeasuredPoint]) -> list[Overall]:
    """One record per planner; empty with fewer than two settings, where the main table says it all.

    Tasks without a simulator are left out: a success that the model alone has judged is not averaged with a simulator's.
    """
    rows = [row for row in rows if not row.judged_in_model]
    by_planner: dict[str, dict[Condition, MeasuredPoint]] = {}
    for row in rows:
        if row.success.trials and not np.isnan(row.cells.done.progress).all():
            by_planner.setdefault(row.planner, {})[row.condition] = row
    every = {row.planner for row in rows}
    common = set.intersection(*(set(by_condition) for by_condition in by_planner.values())) if by_planner else set()
    if len(common) < 2 or len(every) > len(by_planner):
        return []
    ordered = [condition for condition in dict.fromkeys(row.condition for row in rows) if condition in common]
    shown = list(by_planner.items())[:PLANNERS]
    return [_overall(name, [settings[one] for one in ordered]) for name, settings in shown]


def _overall(planner: str, rows: Sequence[MeasuredPoint]) -> Overall:
    ran = [row.cells.done for row in rows]
    rates = [row.success for row in rows]
    progress = [one.progress[~np.isnan(one.progress)] for one in ran]
    versus = [row.versus for row in rows if row.versus is not None]
    nearer = [one.nearer[0] / one.nearer[1] for one in versus if one.nearer[1]]
    return Overall(
        planner,
        len(rows),
        sum(map(len, ran)),
        fmean(rate.value or 0.0 for rate in rates),
        mean_of_rates(rates) if min(rate.trials for rate in rates) >= FEWEST_OF_SEVERAL else None,
        interquartile_mean(progress),
        interquartile_interval(progress),
        fmean(nearer) if nearer else None,
        {verdict: sum(one.verdict is verdict for one in versus) for verdict in Verdict} if versus else {},
        np.mean([(values[:, None] >= TAUS).mean(0) for values in progress], 0),
    )


def render_overall(found: Sequence[Overall]) -> Table:
    """The table for the terminal."""
    title = f"over {found[0].conditions} settings"
    table = Table(title=title, title_justify="left", caption=CAPTION, caption_justify="left", pad_edge=False, box=SIMPLE_HEAD)
    table.add_column("planner", no_wrap=True)
    for name in ("n", "success [95 %]", "progress [95 %]", "nearer", "settings"):
        table.add_column(name, justify="right" if name in ("n", "nearer") else "left", no_wrap=True)
    for one in found:
        table.add_row(*overall_fields(one))
    return table


def overall_fields(one: Overall) -> tuple[str, ...]:
    """The fields of a planner's line as text."""
    verdicts = ", ".join(f"{count} {verdict.value}" for verdict, count in one.verdicts.items() if count)
    return (
        one.planner,
        str(one.problems),
        _with(one.success, one.success_interval),
        _with(one.progress, one.progress_interval),
        "" if one.nearer is None else f"{one.nearer:.2f}",
        verdicts or "-",
    )


def _with(value: float, interval: Interval | None) -> str:
    return f"{value:.2f}" if interval is None else f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"
