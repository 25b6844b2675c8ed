"""Contents of the MLflow runs of points: plain values made from ledger rows, without MLflow."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from orchestrator.core.modes import OPEN_LOOP
from orchestrator.evaluation.wilson_interval import wilson
from orchestrator.tracking.content.cell_digests import cells_digest
from orchestrator.tracking.content.inputs import RunInput, problems_input
from orchestrator.tracking.content.sweep_info import Labels, PointLabels

Row = Mapping[str, Any]
"""A ledger row."""

SEED_METRICS = ("success", "distance", "model_success", "model_distance", "steps_to_success")
"""Columns logged as metrics `seed/COLUMN`, once per seed that has not failed, at step = seed, unless None.

MLflow shows a metric's last step, so the value of a single seed must not have the name of the point's. Seconds belong to a
batch, not to a seed.
"""

TABLE_COLUMNS = (
    *("seed", "problem_kind", "status", "success", "distance", "start_distance", "model_success", "model_distance"),
    *("predicted_cost", "steps_to_success", "plan_seconds", "evaluations", "error", "cell_id"),
)
"""Columns of the table of cells in the UI."""

POINT_COLUMNS = (
    *("point_id", "task", "task_settings", "model", "model_digest", "planner", "planner_settings", "horizon", "mode"),
    *("goal_cost", "disagreement", "noise_seed", "algorithm_version", "problems"),
    *("history", "success_rule", "protocol", "judged"),
    *("git_revision", "batch_seconds", "finished_at"),
    *TABLE_COLUMNS,
)
"""Ledger columns that `contents` reads."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PARAM_LIMIT, TAG_LIMIT = 6000, 5000
"""Most characters that MLflow accepts in a param and in a tag."""


@dataclass(frozen=True)
class Metric:
    """A metric of a run at one step."""

    key: str
    value: float
    step: int
    timestamp: int
    """When its cell was finished, in Unix milliseconds, so that logging it again gives the same metric."""


@dataclass(frozen=True)
class PointContent:
    """The contents of a point's child run."""

    point_id: str
    name: str
    tags: dict[str, str]
    params: dict[str, str]
    digest: str
    """A digest of the cells: which, and when they were finished."""
    rows: tuple[Row, ...]
    """The point's rows, sorted by seed."""
    labels: PointLabels
    inputs: tuple[RunInput, ...] = ()
    """The dataset whose rows are its problems, if there is one."""

    @property
    def began(self) -> int:
        """When the first batch began, roughly, in Unix milliseconds."""
        return min(milliseconds(row["finished_at"]) - round(1000 * (row["batch_seconds"] or 0)) for row in self.rows)

    @property
    def ended(self) -> int:
        """When the last cell was finished, in Unix milliseconds."""
        return max(milliseconds(row["finished_at"]) for row in self.rows)

    def seed_metrics(self) -> list[Metric]:
        """Metrics of single cells, at step = seed."""
        return [
            Metric(f"seed/{key}", float(row[key]), row["seed"], milliseconds(row["finished_at"]))
            for row in ran(self.rows)
            for key in SEED_METRICS
            if row[key] is not None
        ]

    def summary_metrics(self) -> list[Metric]:
        """Metrics of the whole point, at step = number of cells, so that a point that grew shows its latest values."""
        values = summary(self.rows)
        return [Metric(key, value, len(self.rows), self.ended) for key, value in values.items()]


def contents(rows: Iterable[Row], labels: Labels | None = None) -> list[PointContent]:
    """The points of ledger rows (with `POINT_COLUMNS`), sorted by name; a point without labels is named by what was run."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["point_id"]].append(row)
    points = [
        _content(point_id, sorted(rows, key=lambda row: row["seed"]), (labels or {}).get(point_id))
        for point_id, rows in groups.items()
    ]
    return sorted(points, key=lambda point: (point.name, point.point_id))


def _content(point_id: str, rows: Sequence[Row], labels: PointLabels | None) -> PointContent:
    first = rows[0]
    labels = labels or _labels(first)
    kinds = sorted({row["problem_kind"] for row in rows if row["problem_kind"]})
    tags = {
        "grasp.kind": "point",
        "grasp.point_id": point_id,
        "grasp.git_revision": first["git_revision"],
        "task": labels.task,
        "planner": labels.planner,
        "horizon": str(first["horizon"]),
        "model": first["model"],
        "simulator": first["task"],
        "algorithm": first["planner"],
        "kind": ", ".join(kinds),
        "mode": first["mode"],
    }
    judged_in_model = any(row["judged"] is not None for row in rows)
    if judged_in_model:
        tags["judged"] = "in the world model: there is no simulator"
    params = {"horizon": str(first["horizon"]), "mode": first["mode"], "model_digest": first["model_digest"]}
    params["goal_cost"] = first["goal_cost"] or "the model's own"
    if first["disagreement"]:
        params["disagreement"] = str(first["disagreement"])
    params |= {name: first[name] for name in ("history", "success_rule", "protocol") if first[name]}
    if first["noise_seed"] is not None:
        params["noise_seed"] = str(first["noise_seed"])
    if first["problems"] is not None:
        params |= {
            f"problems.{key}": str(value) for key, value in json.loads(first["problems"]).items() if value not in (None, [])
        }
    if (first["algorithm_version"] or 1) != 1:
        params["algorithm_version"] = str(first["algorithm_version"])
    params |= {"task": labels.task, "planner": labels.planner}
    for group in ("task", "planner"):
        for key, value in json.loads(first[f"{group}_settings"]).items():
            params[f"{group}.{key}"] = str(value)
    words = [*labels.words]
    words += [] if first["problems"] is None else [f"rows of {Path(json.loads(first['problems'])['path']).name}"]
    words += ["judged in the model"] if judged_in_model else []
    name = " · ".join([labels.task, labels.planner, f"H{first['horizon']}", *words])
    finished = [[row["seed"], (row["finished_at"] - _EPOCH) // timedelta(microseconds=1)] for row in rows]
    return PointContent(
        point_id,
        name,
        clipped(tags, TAG_LIMIT),
        clipped(params, PARAM_LIMIT),
        cells_digest(np.array(finished, np.int64)),
        tuple(rows),
        labels,
        () if first["problems"] is None else (problems_input(json.loads(first["problems"])),),
    )


def _labels(first: Row) -> PointLabels:
    """Labels of a point that nobody named: those of its record."""
    words = _way(first) + ([first["goal_cost"]] if first["goal_cost"] else [])
    words += [] if first["noise_seed"] is None else [f"noise {first['noise_seed']}"]
    return PointLabels(first["task"], first["planner"], first["horizon"], tuple(words))


def _way(first: Row) -> list[str]:
    """The protocol, or else the mode, history and success rule where they are not the default."""
    if first["protocol"]:
        return [first["protocol"]]
    return [*([] if first["mode"] == OPEN_LOOP else [first["mode"]]), *filter(None, (first["history"], first["success_rule"]))]


def ran(rows: Iterable[Row]) -> list[Row]:
    """The rows that have not failed: an error is not a bad plan, and counts in no rate."""
    return [row for row in rows if row["status"] != "failed"]


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """Rates with Wilson intervals, counts and seconds of some cells; no rates if all have failed."""
    total, rows = len(rows), ran(rows)
    values = rate(sum(row["success"] for row in rows), len(rows))
    values |= {
        "cells": float(total),
        "failed": float(total - len(rows)),
        "non_finite": float(sum(row["status"] == "non_finite" for row in rows)),
    }
    predicted = [row["model_success"] for row in rows if row["model_success"] is not None]
    if predicted:
        values["model_success_rate"] = fmean(predicted)
    for key in ("distance", "plan_seconds", "evaluations", "steps_to_success"):
        known = [float(row[key]) for row in rows if row[key] is not None]
        if known:
            values[f"{key}_mean"], values[f"{key}_median"] = fmean(known), float(median(known))
    values["planning_seconds"] = math.fsum(row["plan_seconds"] or 0.0 for row in rows)
    return values


def rate(successes: int, n: int) -> dict[str, float]:
    """Success rate and its Wilson interval, by name; empty without trials."""
    low, high = wilson(successes, n)
    return {"success_rate": successes / n, "success_rate_lower": low, "success_rate_upper": high} if n else {}


def table_json(rows: Sequence[Row]) -> str:
    """The cells as a table that MLflow's UI shows (a data frame's `split` form)."""
    return json.dumps({"columns": list(TABLE_COLUMNS), "data": [[row[c] for c in TABLE_COLUMNS] for row in rows]})


def milliseconds(time: datetime) -> int:
    """Milliseconds since the epoch."""
    return round(time.timestamp() * 1000)


def clipped(values: Mapping[str, str], limit: int) -> dict[str, str]:
    """Values cut to at most `limit` characters; empty ones are left out."""
    return {key: value if len(value) <= limit else value[: limit - 1] + "…" for key, value in values.items() if value}
