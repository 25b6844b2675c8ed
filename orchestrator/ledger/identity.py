"""Which point a record is of, and the ids that records of earlier schemas have now.

Parts of schema 4 and before hold ids that were made before there were versions, some of them when planners had fewer settings.
They are read as version 1, and a point that its record describes counts, whatever id the record was given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.core.cell import Named, Point, cell_id_of, recorded_problems
from orchestrator.core.success import FINAL
from orchestrator.ledger.seal import DamagedPartError
from world_models.history import REPEAT

LAST_WITHOUT_VERSIONS = 4
"""The last schema version whose records say nothing of the versions of algorithm, task and loader."""

POINT_COLUMNS = (
    *("task", "task_settings", "model", "model_digest", "planner", "planner_settings", "horizon", "mode"),
    *("goal_cost", "disagreement", "algorithm_version", "task_version", "loader_version", "noise_seed", "code", "problems"),
    *("history", "success_rule", "protocol"),
)
"""Columns that say which point a record is of."""


def point_of(row: Mapping[str, Any]) -> Point:
    """The point of a record with `POINT_COLUMNS`; null is the default."""
    task, planner = (Named.of(row[kind], json.loads(row[f"{kind}_settings"])) for kind in ("task", "planner"))
    return Point(
        task=task,
        model=row["model"],
        model_digest=row["model_digest"],
        planner=planner,
        horizon=row["horizon"],
        mode=row["mode"],
        goal_cost=row["goal_cost"],
        disagreement=row["disagreement"] or 0.0,
        algorithm_version=row["algorithm_version"] or 1,
        task_version=row["task_version"] or 1,
        loader_version=row["loader_version"] or 1,
        noise_seed=row["noise_seed"],
        code=tuple(sorted(json.loads(row["code"]).items())) if row["code"] else (),
        problems=recorded_problems(json.loads(row["problems"])) if row["problems"] else None,
        history=row["history"] or REPEAT,
        success=row["success_rule"] or FINAL,
        protocol=row["protocol"],
    )


def renamed_points(table: pa.Table) -> dict[str, str]:
    """Present point ids by recorded ones, where they differ, of a table with point_id and `POINT_COLUMNS`.

    Raises DamagedPartError for a record whose settings are not JSON objects.
    """
    ids = table["point_id"].combine_chunks().dictionary_encode()
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    _, first = np.unique(ids.indices.to_numpy(zero_copy_only=False), return_index=True)
    rows = table.take(pa.array(first)).to_pylist()
    try:
        present = {row["point_id"]: point_of(row).point_id for row in rows}
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedPartError("a record does not describe its point") from error
    return {old: new for old, new in present.items() if old != new}


def renamed(table: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """A table with the point ids `names` gives for recorded ones, and the cell ids that follow, where it has such columns."""
    if not names:
        return table
    recorded = table["point_id"].to_pylist()
    points = [names.get(point, point) for point in recorded]
    table = _with(table, "point_id", points)
    if "cell_id" not in table.column_names:
        return table
    rows = zip(recorded, points, table["seed"].to_pylist(), table["cell_id"].to_pylist(), strict=True)
    return _with(table, "cell_id", [cell_id_of(new, seed) if old != new else cell for old, new, seed, cell in rows])


def _with(table: pa.Table, name: str, values: list[str]) -> pa.Table:
    index = table.column_names.index(name)
    return table.set_column(index, table.schema.field(index), pa.array(values, pa.string()))
