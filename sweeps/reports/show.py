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
from sweeps.analysis.summary import COLUMNS, summary_of
from sweeps.config.grid import Grid
from sweeps.config.outputs import Outputs
from sweeps.console import terminal
from sweeps.console.terminal import say
from sweeps.reports.files import MAX_TABLE_ROWS, truncation_note, write_report
from sweeps.reports.resource_use import render_resource_use
from sweeps.reports.tables import WIDTH, render_table


@dataclass(frozen=True)
class PrintedReport:
    """The rows that were printed, and the files that a tracker gets."""

    rows: Sequence[Row]
    files: Sequence[Path]


def show(grid: Grid, outputs: Outputs, ledger: Ledger, console: Console, for_papers: bool = False) -> PrintedReport:
    """Write report.txt, .csv and .html and the figures to the sweep's folder, then print the tables.

    `for_papers` also prints the table of resource use, and adds report.tex and the figures as PDF.
    """
    sweep_summary = summary_of(grid, records_of(grid, ledger, COLUMNS))
    folder = outputs.sweep(grid.name)
    files = write_report(sweep_summary, ledger, folder, for_papers)
    terminal.show(console, render_table(sweep_summary.rows[:MAX_TABLE_ROWS], sweep_summary.title), WIDTH)
    if len(sweep_summary.rows) > MAX_TABLE_ROWS:
        say(console, f"{truncation_note(sweep_summary.rows)} {folder / 'report.csv'}")
    if for_papers:
        terminal.show(console, render_resource_use(sweep_summary.rows[:MAX_TABLE_ROWS]), WIDTH)
    if sweep_summary.overall:
        terminal.show(console, render_overall(sweep_summary.overall))
    for error, count in sweep_summary.errors[:3]:
        say(console, f"{count} cells failed with: {error}")
    if sweep_summary.errors:
        say(console, "failed cells are planned again only when asked: grasp sweep --retry-failed")
    return PrintedReport(sweep_summary.rows, files)
