"""A table of resource use: seconds over all trials and over successes, steps, and which planner ends nearer."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sweeps.analysis.rows import MeasuredPoint

CAPTION = (
    "s/plan, all: mean planning seconds over all trials, solved or not; s/plan, solved: over the solved ones only, which "
    "flatters a planner that solves few; steps: median environment steps to the goal over the solved ones; model steps: mean "
    "over all trials; ends nearer: probability that a plan ends nearer to the goal than the first planner's on the same "
    "problem, counting ties as half, with Wilson's 95 % interval: if that contains 0.5, it is unclear."
)
"""How to read the table."""

HEADINGS = (
    "task",
    "H",
    "planner",
    "n",
    "solved",
    "s/plan, all",
    "s/plan, solved",
    "steps",
    "model steps",
    "ends nearer [95 %]",
)
"""Headings of the table's columns."""
TEXTS = ("task", "planner", "ends nearer [95 %]")
"""Headings of the columns that are not numbers."""


def render_resource_use(rows: Sequence[MeasuredPoint]) -> Table:
    """The table for a terminal."""
    table = Table(
        title="resource use", title_justify="left", caption=CAPTION, caption_justify="left", pad_edge=False, box=SIMPLE_HEAD
    )
    for name in HEADINGS:
        table.add_column(name, justify="left" if name in TEXTS else "right", no_wrap=True)
    for i, row in enumerate(rows):
        last = i + 1 == len(rows) or rows[i + 1].condition != row.condition
        table.add_row(*resource_use_fields(row), end_section=last)
    return table


def resource_use_fields(row: MeasuredPoint) -> tuple[str, ...]:
    """A row's cells as text, by `HEADINGS`."""
    return (
        row.task,
        str(row.horizon),
        row.planner,
        str(row.success.trials),
        str(row.success.successes),
        _number(row.plan_seconds, ".2f"),
        _number(row.solved_seconds, ".2f"),
        _number(row.steps, ".0f"),
        _number(row.evaluations, ",.0f"),
        _nearer(row),
    )


def resource_use_text(rows: Sequence[MeasuredPoint], width: int) -> str:
    """The table as plain text."""
    stream = io.StringIO()
    Console(file=stream, force_jupyter=False, width=width, color_system=None, markup=False, emoji=False).print(
        render_resource_use(rows)
    )
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _nearer(row: MeasuredPoint) -> str:
    if row.versus is None or not row.versus.nearer[1]:
        return ""
    (won, of), (low, high) = row.versus.nearer, row.versus.nearer_interval
    return f"{won / of:.2f} [{low:.2f}, {high:.2f}]"
