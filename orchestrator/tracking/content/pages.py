"""The description pages of runs, and the view of a sweep's points."""

from __future__ import annotations

import json
from collections.abc import Mapping

from orchestrator.core.cell import digest
from orchestrator.tracking.content.overview import Overview
from orchestrator.tracking.content.points import TAG_LIMIT, PointContent, clipped, ran, summary
from orchestrator.tracking.content.sweep_info import SweepInfo

PLANNERS_NAMED = 5
"""Most planners in a sweep's headline."""


def point_page(point: PointContent) -> str:
    """Markdown about a point: first its headline and the command to look at a cell, then a table."""
    rows, values = point.rows, summary(point.rows)
    lines = [f"**{point.name}**: no cell has a result"]
    if "success_rate" in values:
        rate, low, high = (values[key] for key in ("success_rate", "success_rate_lower", "success_rate_upper"))
        judged_in_model = any(row["judged"] is not None for row in rows)
        where = " in the world model, for lack of a simulator" if judged_in_model else ""
        lines = [
            f"**{point.name}**: success **{rate:.2f}**{where} (95 % interval {low:.2f} to {high:.2f}, n = {len(ran(rows))})"
        ]
    failed = [row for row in rows if row["status"] == "failed"]
    if lost := failed or [row for row in rows if not row["success"]]:
        lines += ["", f"Its first cell without success is seed {lost[0]['seed']}: `grasp rerun {lost[0]['cell_id']}`"]
    else:
        lines += ["", f"All succeeded; the first is seed {rows[0]['seed']}: `grasp rerun {rows[0]['cell_id']}`"]
    if table := _table(values, point.labels.unit):
        lines += ["", *table]
    if failed:
        lines += ["", f"{len(failed)} cells could not be planned; the first error: `{_plain(failed[0]['error'])}`"]
    return "\n".join(lines)


def _table(values: Mapping[str, float], unit: str) -> list[str]:
    shown = {
        "distance at the end, median": ("distance_median", f"{{:.3g}} {unit}".rstrip()),
        "seconds per plan, mean": ("plan_seconds_mean", "{:.3g}"),
        "steps to success, median": ("steps_to_success_median", "{:.0f}"),
        "success predicted by the model": ("model_success_rate", "{:.2f}"),
    }
    rows = [f"| {words} | {form.format(values[key])} |" for words, (key, form) in shown.items() if key in values]
    return ["| | |", "|---|---|", *rows] if rows else []


def _plain(error: str | None) -> str:
    return (error or "nothing").replace("`", "'")[:200]


COLUMNS = (
    *("params.`task`", "params.`planner`", "params.`horizon`"),
    *("metrics.`success_rate`", "metrics.`success_rate_lower`", "metrics.`success_rate_upper`", "metrics.`cells`"),
    *("metrics.`distance_median`", "metrics.`plan_seconds_mean`"),
)
"""Columns of the view of a sweep's points."""

ORDER = "grasp.order"
"""Tag of a point's run: sorted by it, points come task by task, the best first. MLflow sorts by one column only."""


def order_of(point: PointContent) -> str:
    """The tag `ORDER` of a point; one without a result comes last in its task."""
    rate = summary(point.rows).get("success_rate", -1.0)
    return f"{point.labels.task} {point.labels.horizon:09d} {1 - rate:.6f} {point.labels.full_planner}"


def view_key(sweep: str) -> str:
    """The key of a sweep's view, for an address in the UI."""
    return f"grasp-{digest(sweep)}"


def points_view(parent: str) -> str:
    """A view of a run's children, the best of each task first, and flat: MLflow nests them only while it sorts by time."""
    return json.dumps(
        {
            "searchFilter": f"tags.`mlflow.parentRunId` = '{parent}'",
            "orderByKey": f"tags.`{ORDER}`",
            "orderByAsc": True,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "modelVersionFilter": "All Runs",
            "datasetsFilter": [],
            "selectedColumns": list(COLUMNS),
            "columnOrder": [],
            "columnWidths": {},
            "runsExpanded": {},
            "runsPinned": [],
            "runsHidden": [],
            "runsVisibilityMap": {},
            "runsHiddenMode": "FIRST_10_RUNS",
            "viewMaximized": False,
            "runListHidden": False,
            "isAccordionReordered": False,
            "useGroupedValuesInCharts": True,
            "hideEmptyCharts": True,
            "groupBy": None,
            "groupsExpanded": {},
            "autoRefreshEnabled": False,
        }
    )


def sweep_tags(info: SweepInfo, sweep_overview: Overview | None = None) -> dict[str, str]:
    """Tags of a sweep's run: its description, command and git revisions; without an overview, those of its beginning."""
    revisions = "" if sweep_overview is None else sweep_overview.revisions
    content = "\n".join([*_headline(info, sweep_overview), "", info.description]).rstrip()
    tags = {"mlflow.note.content": content, "grasp.command": info.command, "grasp.git_revision": revisions}
    tags |= {"mlflow.source.name": info.command, "mlflow.source.type": "LOCAL"}
    return clipped(tags, TAG_LIMIT)


def _headline(info: SweepInfo, sweep_overview: Overview | None) -> list[str]:
    """One line on the sweep and its planners, the best first, and the command that runs it again."""
    words = f"**{info.name}**: being planned"
    if sweep_overview is not None:
        counted = f"{sweep_overview.cells} cells of {len(sweep_overview.digests)} points"
        prefix = "success_rate/"
        rates = {key.removeprefix(prefix): rate for key, rate in sweep_overview.metrics.items() if key.startswith(prefix)}
        best = sorted(rates, key=lambda planner: (-rates[planner], planner))
        shown = ", ".join(f"{planner} {rates[planner]:.2f}" for planner in best[:PLANNERS_NAMED])
        more = f" and {len(best) - PLANNERS_NAMED} more" if len(best) > PLANNERS_NAMED else ""
        words = f"**{info.name}**: {counted}" + (f"; success over all of them: {shown}{more}" if best else "")
    return [words, *(["", f"Run it again with `{info.command}`"] if info.command else [])]
