"""How MLflow's run table shows the points of a sweep: which columns, in which order."""

from __future__ import annotations

import json

from orchestrator.core.cell import digest

COLUMNS = (
    *("metrics.`success_rate`", "metrics.`success_low`", "metrics.`success_high`", "metrics.`distance_median`"),
    *("metrics.`plan_seconds_mean`", "params.`planner`", "params.`horizon`"),
)


def view_key(sweep: str) -> str:
    """Of a sweep's view, for an address in the UI."""
    return f"grasp-{digest(sweep)}"


def points_view(parent: str) -> str:
    """The children of a run, the best first, flat: MLflow nests them only while it sorts by time."""
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
