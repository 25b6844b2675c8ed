"""A sweep's curves and its table of points."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.ledger.records import to_table
from orchestrator.testing import plane_point, quick_result
from orchestrator.tracking.content.overview import CURVE_STEPS, curve, overview, points_table
from orchestrator.tracking.content.sweep_info import PointLabels

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def cells(count: int, batch: int = 1, wins: int = 2):
    """Cells that are finished in batches, one second after the other; one in `wins` succeeds."""
    done = replace(quick_result(plane_point(4), (0,)).results[0], status="completed")
    return to_table(
        [replace(done, seed=n, success=n % wins == 0, finished_at=BEGAN + timedelta(seconds=n // batch)) for n in range(count)]
    )


def test_a_curve_has_the_rate_of_what_was_finished_by_then() -> None:
    found = curve(cells(6, batch=2, wins=3), 6)
    rates = {(m.step, m.value) for m in found if m.key == "success_rate"}
    assert rates == {(2, 1 / 2), (4, 2 / 4), (6, 2 / 6)}
    assert {(m.step, m.value) for m in found if m.key == "cells"} == {(2, 2.0), (4, 4.0), (6, 6.0)}
    assert [m.timestamp for m in found] == sorted(m.timestamp for m in found)


@pytest.mark.parametrize("count", [99, 100, 101, 1000, 2345])
def test_a_curve_has_at_most_a_hundred_steps_and_grows_as_a_prefix(count) -> None:
    table = cells(count)
    whole = curve(table, count)
    assert CURVE_STEPS / 2 <= len({metric.step for metric in whole}) <= CURVE_STEPS
    part = curve(table.slice(0, count // 2), count)
    ended = {metric for metric in part if metric.step < count // 2}
    assert ended <= set(whole)


def test_what_failed_counts_in_no_rate() -> None:
    (record,) = quick_result(plane_point(4), (0,)).results
    failed = to_table([replace(record, status="failed", success=False)])
    assert [metric.key for metric in curve(failed, 1)] == ["cells"]


def test_the_table_of_points_has_the_best_of_each_task_first() -> None:
    records, labels = [], {}
    for horizon, task, wins in ((4, "b", 1), (8, "a", 0), (12, "a", 3)):
        own = quick_result(plane_point(horizon), (0, 1, 2, 3)).results
        records += [replace(record, success=record.seed < wins, status="completed", distance=0.5) for record in own]
        labels[own[0].point_id] = PointLabels(task, f"p{horizon}", 4, (), "m")
    table = to_table(records)
    shown = json.loads(points_table(table, labels))
    rows = [dict(zip(shown["columns"], row, strict=True)) for row in shown["data"]]
    assert [(row["task"], row["planner"], row["success"]) for row in rows] == [
        ("a", "p12", 0.75),
        ("a", "p8", 0.0),
        ("b", "p4", 0.25),
    ]
    assert (rows[0]["interval low"], rows[0]["interval high"], rows[0]["n"]) == (0.3, 0.95, 4)
    assert rows[0]["distance, median"].endswith(" m")
    odd = {point: replace(label, planner=f"[{label.planner}]=$") for point, label in labels.items()}
    assert "success_rate/_p8___" in overview(table, odd).metrics
    assert {key for key in overview(table, labels).metrics if "/" in key} == {f"success_rate/p{n}" for n in (4, 8, 12)}
