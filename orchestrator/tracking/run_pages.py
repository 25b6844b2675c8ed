"""The description page of a point's run: its headline, and the command to look at a cell without success."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from orchestrator.core.cell import digest
from orchestrator.tracking.run_content import TAG_LIMIT, Row, clipped, ran, summary
from orchestrator.tracking.sweep_info import SweepInfo


def point_page(name: str, rows: Sequence[Row]) -> str:
    """Markdown about a point's cells, which are given by seed."""
    values = summary(rows)
    lines = [f"**{name}**: no cell has a result"]
    if "success_rate" in values:
        rate, low, high = (values[key] for key in ("success_rate", "success_low", "success_high"))
        judged_in_model = any(row["judged"] is not None for row in rows)
        where = " in the world model, for lack of a simulator" if judged_in_model else ""
        lines = [f"**{name}**: success **{rate:.2f}**{where} (95 % interval {low:.2f} to {high:.2f}, n = {len(ran(rows))})"]
    if table := _table(values):
        lines += ["", *table]
    failed = [row for row in rows if row["status"] == "failed"]
    if failed:
        lines += ["", f"{len(failed)} cells could not be planned; the first error: `{_plain(failed[0]['error'])}`"]
    if lost := failed or [row for row in rows if not row["success"]]:
        lines += ["", f"Its first cell without success is seed {lost[0]['seed']}: `grasp rerun {lost[0]['cell_id']}`"]
    return "\n".join(lines)


def _table(values: Mapping[str, float]) -> list[str]:
    shown = {
        "distance at the end, median": ("distance_median", "{:.3g}"),
        "seconds per plan, mean": ("plan_seconds_mean", "{:.3g}"),
        "steps to success, median": ("steps_to_success_median", "{:.0f}"),
        "success predicted by the model": ("model_success_rate", "{:.2f}"),
    }
    rows = [f"| {words} | {form.format(values[key])} |" for words, (key, form) in shown.items() if key in values]
    return ["| | |", "|---|---|", *rows] if rows else []


def _plain(error: str | None) -> str:
    return (error or "nothing").replace("`", "'")[:200]


COLUMNS = (
    *("metrics.`success_rate`", "metrics.`success_low`", "metrics.`success_high`", "metrics.`distance_median`"),
    *("metrics.`plan_seconds_mean`", "params.`planner`", "params.`horizon`"),
)


def view_key(sweep: str) -> str:
    """The key of a sweep's view, for an address in the UI."""
    return f"grasp-{digest(sweep)}"


def points_view(parent: str) -> str:
    """A view of a run's children, best first and flat: MLflow nests them only while it sorts by time."""
    return json.dumps(
        {
            "searchFilter": f"tags.`mlflow.parentRunId` = '{parent}'",
            "orderByKey": "metrics.`success_rate`",
            "orderByAsc": False,
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


def sweep_tags(info: SweepInfo, revisions: str) -> dict[str, str]:
    """Tags of a sweep's run: its description, command and git revisions."""
    tags = {"mlflow.note.content": info.description, "grasp.command": info.command, "grasp.git_revision": revisions}
    tags |= {"mlflow.source.name": info.command, "mlflow.source.type": "LOCAL"}
    return clipped(tags, TAG_LIMIT)
