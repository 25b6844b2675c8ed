"""A sweep's report as files: text, CSV, HTML and figures; for papers also LaTeX and PDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.ledger.ledger import Ledger
from sweeps.analysis.point_cells import records_of
from sweeps.analysis.rows import Row
from sweeps.analysis.summary import SweepSummary
from sweeps.reports.resource_use import resource_use_text
from sweeps.reports.tables import WIDTH, to_csv, to_latex, to_text
from world_models.files.writing import write_file

MAX_TABLE_ROWS = 200
"""Number of rows that the text table has at most; report.csv has all."""
FIGURES = "figures"
"""Folder of the figures."""


def truncation_note(rows: Sequence[Row]) -> str:
    """The beginning of a sentence that says which points the table shows and where all of them are."""
    return f"these are the first {MAX_TABLE_ROWS} of {len(rows)} points: all are in"


def report_files(folder: Path) -> list[Path]:
    """The files that a tracker gets: the page, and the figures as PNG."""
    return [file for file in (folder / "report.html", *sorted((folder / FIGURES).glob("*.png"))) if file.exists()]


def write_report(sweep_summary: SweepSummary, ledger: Ledger, folder: Path, for_papers: bool) -> list[Path]:
    """Write what changed to the sweep's folder and return its `report_files`; WriteError if the folder cannot be written to."""
    file, numbers = folder / "report.csv", to_csv(sweep_summary.rows)
    if not for_papers and (folder / "report.html").exists() and file.exists() and file.read_bytes() == numbers.encode():
        return report_files(folder)
    _write(sweep_summary, ledger, folder, for_papers)
    write_file(file, numbers)
    return report_files(folder)


def _write(sweep_summary: SweepSummary, ledger: Ledger, folder: Path, for_papers: bool) -> None:
    # matplotlib takes a second, and most reruns change nothing
    from sweeps.reports.figure import save
    from sweeps.reports.figure_courses import COLUMNS as CURVE_COLUMNS
    from sweeps.reports.figures import curve_points, figures
    from sweeps.reports.html_report import html_report

    text = (
        to_text(sweep_summary.rows[:MAX_TABLE_ROWS], sweep_summary.title)
        + "\n"
        + resource_use_text(sweep_summary.rows[:MAX_TABLE_ROWS], WIDTH)
    )
    write_file(
        folder / "report.txt",
        text if len(sweep_summary.rows) <= MAX_TABLE_ROWS else f"{text}{truncation_note(sweep_summary.rows)} report.csv\n",
    )
    points = set(curve_points(sweep_summary))
    longest = replace(
        sweep_summary.grid, entries=tuple(entry for entry in sweep_summary.grid.entries if entry.point.point_id in points)
    )
    drawn = list(figures(sweep_summary, records_of(longest, ledger, CURVE_COLUMNS)))
    for old in (folder / FIGURES).glob("*"):
        old.unlink()  # an earlier report may have had other figures
    for one in drawn:
        for suffix in (".png", ".pdf") if for_papers else (".png",):
            save(one.figure, folder / FIGURES / f"{one.name}{suffix}")
    # Hundreds of lines and intervals take seconds to draw: once is enough.
    pictures = folder / FIGURES if len(sweep_summary.rows) > MAX_TABLE_ROWS else None
    write_file(folder / "report.html", html_report(sweep_summary, drawn, pictures))
    if for_papers:
        write_file(folder / "report.tex", to_latex(sweep_summary.rows, sweep_summary.title))
