"""A sweep's report: its tables on the screen, and its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from orchestrator.ledger.ledger import Ledger
from sweeps.analysis.aggregates import render_overall
from sweeps.analysis.point_cells import records_of
from sweeps.analysis.rows import Row
from sweeps.analysis.summary import COLUMNS, review
from sweeps.config.grid import Grid
from sweeps.config.outputs import Outputs
from sweeps.console import terminal
from sweeps.console.terminal import say
from sweeps.reports.effort import render_effort
from sweeps.reports.files import SHOWN, cut, write_report
from sweeps.reports.tables import WIDTH, render_table


@dataclass(frozen=True)
class Shown:
    """What was shown, and the files that a tracker gets."""

    rows: Sequence[Row]
    files: Sequence[Path]


def show(grid: Grid, outputs: Outputs, ledger: Ledger, console: Console, for_papers: bool = False) -> Shown:
    """Print the tables and write report.txt, .csv and .html and the figures beside the sweep's spec.

    `for_papers` prints what plans took, too, and adds report.tex and the figures as PDF.
    """
    seen = review(grid, records_of(grid, ledger, COLUMNS))
    folder = outputs.sweep(grid.name)
    terminal.show(console, render_table(seen.rows[:SHOWN], seen.title), WIDTH)
    if len(seen.rows) > SHOWN:
        say(console, f"{cut(seen.rows)} {folder / 'report.csv'}")
    if for_papers:
        terminal.show(console, render_effort(seen.rows[:SHOWN]), WIDTH)
    if seen.overall:
        terminal.show(console, render_overall(seen.overall))
    for error, count in seen.errors[:3]:
        say(console, f"{count} cells failed with: {error}")
    if seen.errors:
        say(console, "failed cells are planned again only when asked: grasp sweep --retry-failed")
    return Shown(seen.rows, write_report(seen, ledger, folder, for_papers))
