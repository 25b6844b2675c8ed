"""What came out of a sweep: rows for task x horizon x planner, as a table, as CSV, as Markdown."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sweeps.grid import Entry, Grid
from sweeps.statistics import Paired, Rate, paired

COLUMNS = ("cell_id", "point_id", "seed", "status", "success", "model_success", "distance", "plan_seconds")
"""What `summarise` reads of the ledger."""

CAPTION = (
    "success: final state of the plan in the simulator, with Wilson's 95 % interval; in model: what the world model believes; "
    "distance: median at the end; s/plan: planning seconds a problem, all trials; vs: difference on common seeds and the "
    "p-value of McNemar's exact test."
)
"""How to read the table."""


@dataclass(frozen=True)
class Row:
    """One point: a planner on a task at a horizon."""

    entry: Entry
    success: Rate
    """Of the cells that ran; failed ones are counted apart."""
    in_model: Rate
    distance: float | None
    """Median at the end, in the task's unit."""
    plan_seconds: float | None
    """Mean over all cells that ran, successful or not."""
    reference: str | None
    """Label of the planner that `versus` compares with; None for the reference itself."""
    versus: Paired | None
    failed: int
    missing: int


def summarise(grid: Grid, table: pa.Table) -> list[Row]:
    """A row a point, in the grid's order, from a ledger table with `COLUMNS`; other sweeps' cells are left out.

    The reference planner is the grid's first.
    """
    wanted = set(grid.seeds)
    cells: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for record in table.select(list(COLUMNS)).to_pylist():
        if record["seed"] in wanted:
            cells[record["point_id"]][record["seed"]] = record
    references = {_setting(entry): entry for entry in reversed(grid.entries)}
    return [_row(entry, references[_setting(entry)], cells, len(grid.seeds)) for entry in grid.entries]


def _setting(entry: Entry) -> tuple[str, str, int]:
    """What planners must share to be compared."""
    return entry.task, entry.point.model, entry.point.horizon


def _row(entry: Entry, reference: Entry, cells: dict[str, dict[int, dict[str, Any]]], seeds: int) -> Row:
    records = cells.get(entry.point.point_id, {})
    ran = _ran(records)
    distances = [r["distance"] for r in ran.values() if r["distance"] is not None]
    seconds = [r["plan_seconds"] for r in ran.values() if r["plan_seconds"] is not None]
    believed = [r["model_success"] for r in ran.values() if r["model_success"] is not None]
    versus = None
    if reference is not entry:
        other = _ran(cells.get(reference.point.point_id, {}))
        versus = paired({s: r["success"] for s, r in ran.items()}, {s: r["success"] for s, r in other.items()})
    return Row(
        entry,
        Rate(sum(r["success"] for r in ran.values()), len(ran)),
        Rate(sum(believed), len(believed)),
        median(distances) if distances else None,
        fmean(seconds) if seconds else None,
        None if reference is entry else reference.planner,
        versus,
        len(records) - len(ran),
        seeds - len(records),
    )


def _ran(records: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {seed: record for seed, record in records.items() if record["status"] != "failed"}


def render_table(rows: Sequence[Row], title: str) -> Table:
    """The table for people."""
    several_models = len({(row.entry.task, row.entry.point.model) for row in rows}) > len({row.entry.task for row in rows})
    references = {row.reference for row in rows if row.reference}
    incomplete = any(row.failed or row.missing for row in rows)
    table = Table(title=title, title_justify="left", caption=CAPTION, caption_justify="left", pad_edge=False, box=SIMPLE_HEAD)
    table.add_column("task", no_wrap=True)
    if several_models:
        table.add_column("model")
    table.add_column("H", justify="right")
    table.add_column("planner", no_wrap=True)
    table.add_column("success [95 %]", no_wrap=True)
    table.add_column("n", justify="right")
    table.add_column("in model", justify="right")
    table.add_column("distance", justify="right", no_wrap=True)
    table.add_column("s/plan", justify="right")
    if references:
        table.add_column(f"vs {references.pop()}" if len(references) == 1 else "vs first", no_wrap=True)
    if incomplete:
        table.add_column("failed", justify="right")
        table.add_column("missing", justify="right")
    for i, row in enumerate(rows):
        last = i + 1 == len(rows) or _setting(rows[i + 1].entry) != _setting(row.entry)
        fields = _fields(row)
        cells = [fields["task"]] + ([fields["model"]] if several_models else [])
        cells += [fields[key] for key in ("horizon", "planner", "success", "n", "in_model", "distance", "seconds")]
        cells += [fields["versus"]] if references or any(r.reference for r in rows) else []
        cells += [str(row.failed), str(row.missing)] if incomplete else []
        table.add_row(*cells, end_section=last)
    return table


def _fields(row: Row) -> dict[str, str]:
    """A row's cells as text."""
    rate, point = row.success, row.entry.point
    versus = ""
    if row.versus is not None and row.versus.difference is not None:
        versus = f"{row.versus.difference:+.2f} (p {row.versus.p_value:.2f})"
    return {
        "task": row.entry.task,
        "model": point.model,
        "horizon": str(point.horizon),
        "planner": row.entry.planner,
        "success": "-" if rate.value is None else f"{rate.value:.2f} [{rate.interval[0]:.2f}, {rate.interval[1]:.2f}]",
        "n": str(rate.trials),
        "in_model": "-" if row.in_model.value is None else f"{row.in_model.value:.2f}",
        "distance": "-" if row.distance is None else f"{row.distance:.3g} {row.entry.unit}",
        "seconds": "-" if row.plan_seconds is None else f"{row.plan_seconds:.2f}",
        "versus": versus,
    }


def headline(rows: Iterable[Row]) -> str:
    """Markdown for the sweep's page: the table without the rest."""
    lines = ["| task | H | planner | success | 95 % interval | n | s/plan |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        fields, rate = _fields(row), row.success
        low, high = rate.interval
        share = "- | -" if rate.value is None else f"{rate.value:.2f} | {low:.2f} to {high:.2f}"
        lines.append(
            f"| {fields['task']} | {fields['horizon']} | {fields['planner']} | {share} | {fields['n']} | {fields['seconds']} |"
        )
    return "\n".join(lines)


def to_text(rows: Sequence[Row], title: str) -> str:
    """The table as plain text."""
    stream = io.StringIO()
    Console(file=stream, width=120, color_system=None).print(render_table(rows, title))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def to_csv(rows: Sequence[Row]) -> str:
    """The table for machines, in full precision."""
    stream = io.StringIO()
    records = [_record(row) for row in rows]
    writer = csv.DictWriter(stream, records[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def _record(row: Row) -> dict[str, object]:
    point, versus = row.entry.point, row.versus
    low, high = row.success.interval
    return {
        "task": row.entry.task,
        "model": point.model,
        "model_digest": point.model_digest,
        "horizon": point.horizon,
        "planner": row.entry.planner,
        "mode": point.mode,
        "goal_cost": point.goal_cost,
        "disagreement": point.disagreement,
        "point_id": point.point_id,
        "n": row.success.trials,
        "success_rate": row.success.value,
        "success_low": low,
        "success_high": high,
        "in_model_rate": row.in_model.value,
        "median_distance": row.distance,
        "distance_unit": row.entry.unit,
        "mean_plan_seconds": row.plan_seconds,
        "reference": row.reference,
        "pairs": versus.pairs if versus else None,
        "difference": versus.difference if versus else None,
        "p_value": versus.p_value if versus else None,
        "failed": row.failed,
        "missing": row.missing,
    }
