"""Contents of a sweep's own run: the numbers of all cells, the table of its points, and how it came about."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.tracking.content.cell_digests import microseconds, point_digests
from orchestrator.tracking.content.points import Metric, rate
from orchestrator.tracking.content.sweep_info import Labels, PointLabels

OVERVIEW_COLUMNS = (
    *("point_id", "seed", "planner", "status", "success", "model_success", "distance", "plan_seconds", "batch_seconds"),
    *("git_revision", "finished_at"),
)
"""Ledger columns that `overview` reads."""

CURVE_COLUMNS = ("point_id", "seed", "status", "success", "finished_at")
"""Ledger columns for `curve`, and to know a sweep's cells by."""

CURVE_STEPS = 100
"""Most steps of a sweep's curves."""

POINTS_HEADINGS = (
    *("task", "planner", "horizon", "success", "interval low", "interval high", "n", "distance, median", "s/plan", "point_id"),
)
"""Headings of the table of points."""


_NOT_IN_KEYS = re.compile(r"[^\w.\- ]")


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
    curve: tuple[Metric, ...] = ()
    """Success rate and number of cells, as they were while cells were finished."""

    @property
    def digest(self) -> str:
        """A digest of all cells."""
        return hashlib.sha256("".join(f"{k}{self.digests[k]}" for k in sorted(self.digests)).encode()).hexdigest()[:16]


def overview(table: pa.Table, labels: Labels | None = None) -> Overview:
    """The overview of a ledger table (with `OVERVIEW_COLUMNS`); a million cells take a second or two.

    Planners are told apart by their labels, or else by their names.
    """
    n = table.num_rows
    if n == 0:
        return Overview({}, {}, 0, 0, 0, "")
    done = table.filter(pc.field("status") != "failed")
    success, seconds = (_numbers(done, key) for key in ("success", "plan_seconds"))
    ended = microseconds(table) / 1e6
    began = ended - np.nan_to_num(_numbers(table, "batch_seconds"))
    values = {**rate(int(success.sum()), done.num_rows), "cells": float(n)}
    statuses = table.group_by("status").aggregate([([], "count_all")]).to_pylist()
    counts = {row["status"]: row["count_all"] for row in statuses}
    values |= {key: float(counts.get(key, 0)) for key in ("failed", "non_finite")}
    predicted = _numbers(done, "model_success")
    if not np.isnan(predicted).all():
        values["model_success_rate"] = float(np.nanmean(predicted))
    values["planning_seconds"] = float(np.nansum(seconds))
    values |= _rates_of_planners(done, success, labels or {})
    revisions = ", ".join(sorted(table["git_revision"].unique().to_pylist()))
    first, last = round(1000 * began.min()), round(1000 * ended.max())
    return Overview(point_digests(table), values, n, first, last, revisions, curve(table, n))


def _rates_of_planners(done: pa.Table, success: np.ndarray, labels: Labels) -> dict[str, float]:
    hits = done.select(["point_id", "planner"]).append_column("hit", pa.array(success))
    sums: dict[str, list[float]] = {}
    for row in hits.group_by(["point_id", "planner"]).aggregate([("hit", "sum"), ("hit", "count")]).to_pylist():
        name = labels[row["point_id"]].planner if row["point_id"] in labels else row["planner"]
        total = sums.setdefault(name, [0.0, 0.0])
        total[0] += row["hit_sum"]
        total[1] += row["hit_count"]
    # Labels of foreign sweeps may hold anything, names of metrics may not.
    return {f"success_rate/{_NOT_IN_KEYS.sub('_', name)}": hit / count for name, (hit, count) in sorted(sums.items())}


def curve(table: pa.Table, expected: int) -> tuple[Metric, ...]:
    """Success rate and number of cells after each hundredth of the `expected` cells, at step = number of cells.

    Cells of one batch are finished at once, so a step comes after a whole batch. Writing it again gives the same metrics.
    """
    cells = table.select(["success", "status", "finished_at"]).sort_by("finished_at")
    times = microseconds(cells)
    ran = _ran(cells)
    hits, trials = np.cumsum(np.nan_to_num(_numbers(cells, "success")) * ran), np.cumsum(ran)
    counts = np.flatnonzero(np.append(np.diff(times) > 0, True)) + 1
    part = -(-expected // CURVE_STEPS)
    counts = counts[np.diff(counts // part, prepend=0) > 0]
    found = []
    for count in counts.tolist():
        when, tried = int(times[count - 1] // 1000), int(trials[count - 1])
        found += [Metric("success_rate", float(hits[count - 1]) / tried, count, when)] if tried else []
        found.append(Metric("cells", float(count), count, when))
    return tuple(found)


def points_table(table: pa.Table, labels: Labels) -> str:
    """The labelled points as a table that MLflow's UI shows (`split` form), the best first within each task; rounded.

    Empty without any.
    """
    if not labels or table.num_rows == 0:
        return ""
    points = table["point_id"].combine_chunks().dictionary_encode()
    order = np.argsort(points.indices.to_numpy(), kind="stable")
    codes = points.indices.to_numpy()[order]
    bounds = np.flatnonzero(np.diff(codes, prepend=-1))
    columns = {key: _numbers(table, key)[order] for key in ("success", "distance", "plan_seconds")}
    columns["ran"] = _ran(table)[order]
    rows: list[tuple[PointLabels, list[object]]] = []
    for code, own in zip(codes[bounds].tolist(), np.split(np.arange(len(codes)), bounds[1:]), strict=True):
        point_id = points.dictionary[code].as_py()
        if point_id in labels:
            rows.append((labels[point_id], _point_row(point_id, labels[point_id], {k: v[own] for k, v in columns.items()})))
    rows.sort(key=lambda row: (row[0].task, row[0].horizon, -(row[1][3] if isinstance(row[1][3], float) else -1)))
    return json.dumps({"columns": list(POINTS_HEADINGS), "data": [row for _, row in rows]})


def _point_row(point_id: str, label: PointLabels, cells: Mapping[str, np.ndarray]) -> list[object]:
    ran = cells["ran"] > 0
    values = rate(int(cells["success"][ran].sum()), int(ran.sum()))
    shares = [
        round(values[key], 2) if key in values else None for key in ("success_rate", "success_rate_lower", "success_rate_upper")
    ]
    distance, seconds = _median(cells["distance"][ran]), _mean(cells["plan_seconds"][ran])
    far = None if distance is None else f"{distance:.3g} {label.unit}".strip()
    pace = None if seconds is None else float(f"{seconds:.3g}")
    return [label.task, label.full_planner, label.horizon, *shares, int(ran.sum()), far, pace, point_id]


def _median(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.mean(known)) if len(known) else None


def seeds_of(table: pa.Table) -> dict[str, np.ndarray]:
    """Seeds in a table of cells, by point id."""
    found = table.select(["point_id", "seed"]).group_by("point_id").aggregate([("seed", "list")]).to_pylist()
    return {row["point_id"]: np.array(row["seed_list"], np.int64) for row in found}


def _ran(table: pa.Table) -> np.ndarray:
    """1 for each cell that has not failed, else 0."""
    return (table["status"].to_numpy() != "failed").astype(float)


def _numbers(table: pa.Table, column: str) -> np.ndarray:
    """A column as floats, NaN for null."""
    return pc.cast(table[column], pa.float64()).to_numpy()
