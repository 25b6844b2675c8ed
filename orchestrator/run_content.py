"""What MLflow is told of a point and of a sweep: plain values made from ledger rows, without MLflow."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, median
from typing import Any

import pyarrow as pa

from orchestrator.cells import OPEN_LOOP, digest

Row = Mapping[str, Any]
"""A ledger row."""

SEED_METRICS = ("success", "distance", "model_success", "model_distance", "plan_seconds", "steps_to_success")
"""Logged once a seed, at step = seed; what is None is left out."""

TABLE_COLUMNS = (
    *("seed", "problem_kind", "status", "success", "distance", "start_distance", "model_success", "model_distance"),
    *("predicted_cost", "steps_to_success", "plan_seconds", "evaluations", "error", "cell_id"),
)
"""The table of cells in the UI."""

PARAM_LIMIT, TAG_LIMIT = 6000, 5000
"""Characters that MLflow takes."""


@dataclass(frozen=True)
class Metric:
    """One number of a run."""

    key: str
    value: float
    step: int
    timestamp: int
    """Milliseconds: when its cell was finished, so that logging it again is the same metric."""


@dataclass(frozen=True)
class PointContent:
    """The child run of a point."""

    point_id: str
    name: str
    tags: dict[str, str]
    params: dict[str, str]
    rows: tuple[Row, ...]
    """By seed."""

    @property
    def digest(self) -> str:
        """Of the cells that are logged."""
        return cells_digest(self.rows)

    @property
    def began(self) -> int:
        """Milliseconds: when the first batch began, roughly."""
        return min(milliseconds(row["finished_at"]) - round(1000 * (row["batch_seconds"] or 0)) for row in self.rows)

    @property
    def ended(self) -> int:
        """Milliseconds: when the last cell was finished."""
        return max(milliseconds(row["finished_at"]) for row in self.rows)

    def seed_metrics(self) -> list[Metric]:
        """Metrics of the single cells, at step = seed."""
        return [
            Metric(key, float(row[key]), row["seed"], milliseconds(row["finished_at"]))
            for row in self.rows
            for key in SEED_METRICS
            if row[key] is not None
        ]

    def summary_metrics(self) -> list[Metric]:
        """Metrics of the whole point, at step = number of cells, so that a grown point shows its latest."""
        values = summary(self.rows)
        return [Metric(key, value, len(self.rows), self.ended) for key, value in values.items()]


def contents(table: pa.Table) -> list[PointContent]:
    """The points of a ledger table, in order of their names."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in table.drop_columns(["actions"]).to_pylist() if "actions" in table.column_names else table.to_pylist():
        groups[row["point_id"]].append(row)
    points = [_content(point_id, sorted(rows, key=lambda row: row["seed"])) for point_id, rows in groups.items()]
    return sorted(points, key=lambda point: (point.name, point.point_id))


def _content(point_id: str, rows: Sequence[Row]) -> PointContent:
    first = rows[0]
    kinds = sorted({row["problem_kind"] for row in rows if row["problem_kind"]})
    tags = {
        "grasp.kind": "point",
        "grasp.point_id": point_id,
        "grasp.git_revision": first["git_revision"],
        "task": first["task"],
        "planner": first["planner"],
        "horizon": str(first["horizon"]),
        "model": first["model"],
        "kind": ", ".join(kinds),
        "mode": first["mode"],
    }
    params = {"horizon": str(first["horizon"]), "mode": first["mode"], "model_digest": first["model_digest"]}
    params["goal_cost"] = first["goal_cost"] or "the model's own"
    if first["disagreement"]:
        params["disagreement"] = str(first["disagreement"])
    for group in ("task", "planner"):
        params[group] = first[group]
        for key, value in json.loads(first[f"{group}_settings"]).items():
            params[f"{group}.{key}"] = str(value)
    words = [first["task"], first["planner"], f"H{first['horizon']}", *([] if first["mode"] == OPEN_LOOP else [first["mode"]])]
    name = " · ".join([*words, *([first["goal_cost"]] if first["goal_cost"] else [])])
    return PointContent(point_id, name, clipped(tags, TAG_LIMIT), clipped(params, PARAM_LIMIT), tuple(rows))


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """Rates with Wilson intervals, counts and seconds of some cells."""
    n, successes = len(rows), sum(row["success"] for row in rows)
    low, high = wilson(successes, n)
    values = {
        "success_rate": successes / n,
        "success_low": low,
        "success_high": high,
        "cells": float(n),
        "failed": float(sum(row["status"] == "failed" for row in rows)),
        "non_finite": float(sum(row["status"] == "non_finite" for row in rows)),
    }
    believed = [row["model_success"] for row in rows if row["model_success"] is not None]
    if believed:
        values["model_success_rate"] = fmean(believed)
    for key in ("distance", "plan_seconds", "evaluations", "steps_to_success"):
        known = [float(row[key]) for row in rows if row[key] is not None]
        if known:
            values[f"{key}_mean"], values[f"{key}_median"] = fmean(known), float(median(known))
    values["planning_seconds"] = math.fsum(row["plan_seconds"] or 0.0 for row in rows)
    return values


def sweep_metrics(rows: Sequence[Row]) -> dict[str, float]:
    """The parent run's numbers: those of all cells, and the success rate of each planner."""
    values = {key: value for key, value in summary(rows).items() if not key.endswith(("_mean", "_median"))}
    planners: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        planners[row["planner"]].append(row["success"])
    return values | {f"success_rate/{planner}": fmean(hits) for planner, hits in planners.items()}


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate; (0, 1) of nothing."""
    if n == 0:
        return 0.0, 1.0
    z, rate = 1.959963984540054, successes / n
    centre = rate + z * z / (2 * n)
    spread = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def table_json(rows: Sequence[Row]) -> str:
    """The cells as a table that MLflow's UI shows (a data frame's `split` form)."""
    return json.dumps({"columns": list(TABLE_COLUMNS), "data": [[row[c] for c in TABLE_COLUMNS] for row in rows]})


def cells_digest(rows: Sequence[Row]) -> str:
    """Of cells and when they were finished: a cell that was run again counts as another."""
    return digest(sorted([row["cell_id"], milliseconds(row["finished_at"])] for row in rows))


def milliseconds(time: datetime) -> int:
    """Since the epoch."""
    return round(time.timestamp() * 1000)


def clipped(values: Mapping[str, str], limit: int) -> dict[str, str]:
    """Values no longer than `limit`; empty ones left out."""
    return {key: value if len(value) <= limit else value[: limit - 1] + "…" for key, value in values.items() if value}
