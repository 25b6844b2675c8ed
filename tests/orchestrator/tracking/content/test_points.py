"""Content of runs: a sweep computed from columns equals the same sweep computed from rows."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.ledger.records import to_table
from orchestrator.testing import plane_point, quick_result
from orchestrator.tracking.content.overview import overview
from orchestrator.tracking.content.points import contents, summary

seconds = st.none() | st.floats(0, 100)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "point": st.integers(2, 5),
                "seed": st.integers(-(2**40), 2**40),
                "success": st.booleans(),
                "model_success": st.none() | st.booleans(),
                "plan_seconds": seconds,
                "batch_seconds": seconds,
                "status": st.sampled_from(["completed", "failed", "non_finite"]),
                "planner": st.sampled_from(["grasp", "cem"]),
                "finished_at": st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
            }
        ),
        min_size=1,
        max_size=12,
        unique_by=lambda row: (row["point"], row["seed"]),
    )
)
def test_a_sweep_in_columns_is_the_sweep_in_rows(rows) -> None:
    (record,) = quick_result(plane_point(4), (0,)).results
    records = [replace(record, point_id=plane_point(row.pop("point")).point_id, **row) for row in map(dict, rows)]
    table = to_table(records)
    whole, points = overview(table), contents(table.to_pylist())
    assert whole.digests == {point.point_id: point.digest for point in points}
    expected = {k: v for k, v in summary(table.to_pylist()).items() if not k.endswith(("_mean", "_median"))}
    for planner in {row["planner"] for row in rows}:
        hits = [row["success"] for row in rows if row["planner"] == planner and row["status"] != "failed"]
        if hits:
            expected[f"success_rate/{planner}"] = sum(hits) / len(hits)
    assert whole.metrics == pytest.approx(expected)
    assert whole.cells == len(rows)
    assert whole.began == pytest.approx(min(point.began for point in points), abs=1)
    assert whole.ended == max(point.ended for point in points)
    for curve_step in whole.curve:
        if curve_step.step == whole.cells and curve_step.key in whole.metrics:
            assert curve_step.value == pytest.approx(whole.metrics[curve_step.key])
