"""Contents of the MLflow runs of points and sweeps: plain values made from ledger rows, without MLflow."""

from __future__ import annotations

import hashlib
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
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.core.modes import OPEN_LOOP
from orchestrator.evaluation.wilson_interval import wilson

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

OVERVIEW_COLUMNS = (
    *("point_id", "seed", "planner", "status", "success", "model_success", "plan_seconds", "batch_seconds"),
    *("git_revision", "finished_at"),
)
"""Ledger columns that `overview` reads."""

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


def contents(rows: Iterable[Row]) -> list[PointContent]:
    """The points of ledger rows (with `POINT_COLUMNS`), sorted by name."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
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
    for group in ("task", "planner"):
        params[group] = first[group]
        for key, value in json.loads(first[f"{group}_settings"]).items():
            params[f"{group}.{key}"] = str(value)
    words = [first["task"], first["planner"], f"H{first['horizon']}", *_way(first)]
    words += [first["goal_cost"]] if first["goal_cost"] else []
    words += [] if first["noise_seed"] is None else [f"noise {first['noise_seed']}"]
    words += [] if first["problems"] is None else [f"rows of {Path(json.loads(first['problems'])['path']).name}"]
    words += ["judged in the model"] if judged_in_model else []
    name = " · ".join(words)
    finished = [[row["seed"], (row["finished_at"] - _EPOCH) // timedelta(microseconds=1)] for row in rows]
    cells_digest = _digest(np.array(finished, np.int64))
    return PointContent(point_id, name, clipped(tags, TAG_LIMIT), clipped(params, PARAM_LIMIT), cells_digest, tuple(rows))


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
    values = _rate(sum(row["success"] for row in rows), len(rows))
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


def _rate(successes: int, n: int) -> dict[str, float]:
    low, high = wilson(successes, n)
    return {"success_rate": successes / n, "success_low": low, "success_high": high} if n else {}


@dataclass(frozen=True)
class Overview:
    """The numbers on a sweep's own page, and the digests that tell whether its points are up to date."""

    digests: Mapping[str, str]
    """Digests of each point's cells, by point id."""
    metrics: Mapping[str, float]
    """Rates with Wilson intervals, counts and seconds of all cells, and the success rate of each planner."""
    cells: int
    began: int
    """When the first batch began, roughly, in Unix milliseconds; 0 without cells."""
    ended: int
    """When the last cell was finished, in Unix milliseconds; 0 without cells."""
    revisions: str
    """Git revisions, separated by commas."""

    @property
    def digest(self) -> str:
        """A digest of all cells."""
        return hashlib.sha256("".join(f"{k}{self.digests[k]}" for k in sorted(self.digests)).encode()).hexdigest()[:16]


def overview(table: pa.Table) -> Overview:
    """The overview of a ledger table (with `OVERVIEW_COLUMNS`); a million cells take a second or two."""
    n = table.num_rows
    if n == 0:
        return Overview({}, {}, 0, 0, 0, "")
    done = table.filter(pc.field("status") != "failed")
    success, seconds = (_numbers(done, key) for key in ("success", "plan_seconds"))
    ended = _microseconds(table) / 1e6
    began = ended - np.nan_to_num(_numbers(table, "batch_seconds"))
    values = {**_rate(int(success.sum()), done.num_rows), "cells": float(n)}
    statuses = table.group_by("status").aggregate([([], "count_all")]).to_pylist()
    counts = {row["status"]: row["count_all"] for row in statuses}
    values |= {key: float(counts.get(key, 0)) for key in ("failed", "non_finite")}
    predicted = _numbers(done, "model_success")
    if not np.isnan(predicted).all():
        values["model_success_rate"] = float(np.nanmean(predicted))
    values["planning_seconds"] = float(np.nansum(seconds))
    hits = done.select(["planner"]).append_column("hit", pa.array(success))
    for row in hits.group_by("planner").aggregate([("hit", "mean")]).to_pylist():
        values[f"success_rate/{row['planner']}"] = row["hit_mean"]
    revisions = ", ".join(sorted(table["git_revision"].unique().to_pylist()))
    return Overview(point_digests(table), values, n, round(1000 * began.min()), round(1000 * ended.max()), revisions)


def point_digests(table: pa.Table) -> dict[str, str]:
    """Digests of each point's cells, by point id: which seeds, when each was finished (a rerun counts as another)."""
    if table.num_rows == 0:
        return {}
    cells = table.select(["point_id", "seed", "finished_at"])
    ordered = cells.sort_by([("point_id", "ascending"), ("seed", "ascending")])
    numbers = np.stack([ordered["seed"].to_numpy(), _microseconds(ordered)], axis=1)
    points = ordered["point_id"].combine_chunks().dictionary_encode()
    starts = np.flatnonzero(np.diff(points.indices.to_numpy(), prepend=-1))
    slices = np.split(numbers, starts[1:])
    names = points.dictionary.to_pylist()
    return {name: _digest(part) for name, part in zip(names, slices, strict=True)}


def seeds_of(table: pa.Table) -> dict[str, np.ndarray]:
    """Seeds in a table of cells, by point id."""
    found = table.select(["point_id", "seed"]).group_by("point_id").aggregate([("seed", "list")]).to_pylist()
    return {row["point_id"]: np.array(row["seed_list"], np.int64) for row in found}


def _digest(finished: np.ndarray) -> str:
    """A digest of rows, one per seed, of a point's seeds and the times (microseconds) when they were finished."""
    return hashlib.sha256(np.ascontiguousarray(finished).tobytes()).hexdigest()[:16]


def _numbers(table: pa.Table, column: str) -> np.ndarray:
    """A column as floats, NaN for null."""
    return pc.cast(table[column], pa.float64()).to_numpy()


def _microseconds(table: pa.Table) -> np.ndarray:
    """When each cell was finished, in microseconds since the epoch."""
    return pc.cast(table["finished_at"], pa.int64()).to_numpy()


def table_json(rows: Sequence[Row]) -> str:
    """The cells as a table that MLflow's UI shows (a data frame's `split` form)."""
    return json.dumps({"columns": list(TABLE_COLUMNS), "data": [[row[c] for c in TABLE_COLUMNS] for row in rows]})


def milliseconds(time: datetime) -> int:
    """Milliseconds since the epoch."""
    return round(time.timestamp() * 1000)


def clipped(values: Mapping[str, str], limit: int) -> dict[str, str]:
    """Values cut to at most `limit` characters; empty ones are left out."""
    return {key: value if len(value) <= limit else value[: limit - 1] + "…" for key, value in values.items() if value}
