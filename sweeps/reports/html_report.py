"""A sweep's report as one HTML file that needs nothing else: a table to sort and filter, the seeds of each row, and figures."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, select_autoescape
from matplotlib.figure import Figure

from sweeps.analysis.aggregates import CAPTION as OVERALL_CAPTION
from sweeps.analysis.aggregates import overall_fields
from sweeps.analysis.summary import SweepSummary
from sweeps.reports.figure import freeze_layout
from sweeps.reports.figures import NamedFigure
from sweeps.reports.notes import notes_of
from sweeps.reports.resource_use import CAPTION as RESOURCE_USE_CAPTION
from sweeps.reports.resource_use import HEADINGS, TEXTS, resource_use_fields
from sweeps.reports.tables import caption, fields_of, versus_heading
from world_models.files.names import inside

SEEDS_SHOWN = 20_000
"""Number of cells that the report lists at most; of a larger sweep it lists those of the first points."""


def html_report(sweep_summary: SweepSummary, drawn: Sequence[NamedFigure], pictures: Path | None = None) -> str:
    """The report as HTML. `pictures` is a folder that has the figures as PNG; if it is None they are embedded as SVG."""
    page = Environment(loader=PackageLoader("sweeps"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True)
    behind = _seeds(sweep_summary)
    return page.get_template("report.html").render(
        title=sweep_summary.title,
        facts=sweep_summary.facts,
        missing=sweep_summary.missing,
        failed=sweep_summary.failed,
        errors=sweep_summary.errors[:10],
        versus=versus_heading(sweep_summary.rows),
        rows=[
            {**fields_of(row), "failed": row.failed, "missing": row.missing, **_numbers(sweep_summary, i)}
            for i, row in enumerate(sweep_summary.rows)
        ],
        caption=" ".join([caption(sweep_summary.rows), *notes_of(sweep_summary.rows)]),
        resource_use=[resource_use_fields(row) for row in sweep_summary.rows],
        resource_use_headings=[(name, name not in TEXTS) for name in HEADINGS],
        resource_use_caption=RESOURCE_USE_CAPTION,
        overall=[overall_fields(one) for one in sweep_summary.overall],
        overall_caption=OVERALL_CAPTION,
        figures=[
            (one.name, one.alt, _picture(one.figure) if pictures is None else _png(inside(pictures, f"{one.name}.png")))
            for one in drawn
        ],
        seeds=json.dumps(behind, separators=(",", ":")).replace("<", "\\u003c"),
        listed=len(behind) == len(sweep_summary.rows),
    )


def _numbers(sweep_summary: SweepSummary, i: int) -> dict[str, object]:
    """A row's verdict, and the numbers by which it is sorted where its text would sort wrongly."""
    row = sweep_summary.rows[i]
    difference = None if row.versus is None else row.versus.success.difference
    return {
        "number": i,
        "trials": row.success.trials,
        "rate": -1 if row.success.value is None else row.success.value,
        "far": -1 if row.distance is None else row.distance,
        "gap": -2 if difference is None else difference,
        "verdict": "" if row.versus is None else row.versus.verdict.value,
    }


def _seeds(sweep_summary: SweepSummary) -> list[list[list[object]]]:
    """The cells of each row: seed, ending, distance, and the beginning of the id."""
    found, total = [], 0
    for row in sweep_summary.rows:
        cells = row.cells
        total += len(cells)
        if total > SEEDS_SHOWN:
            break
        ends = ["solved" if won else "missed" if ran else "failed" for won, ran in zip(cells.success, cells.ran, strict=True)]
        found.append(
            [
                [seed, end, None if distance != distance else float(f"{distance:.3g}"), row.entry.point.cell(seed).cell_id[:10]]
                for seed, end, distance in zip(cells.seed.tolist(), ends, cells.distance.tolist(), strict=True)
            ]
        )
    return found


def _png(file: Path) -> str:
    """A PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()


def _picture(figure: Figure) -> str:
    """A figure as a data URI of SVG, which is sharp at every size."""
    stream = io.BytesIO()
    freeze_layout(figure)
    with mpl.rc_context({"svg.hashsalt": "grasp"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode()
