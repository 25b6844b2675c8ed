"""Reports: intervals and tests agree with scipy and hand-worked cases; counting is honest; figures say their n."""

import csv
import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest

from orchestrator.core.cell import Named, Point
from orchestrator.evaluation.wilson_interval import wilson
from orchestrator.ledger.records import SCHEMA
from sweeps.analysis.intervals import Paired, paired
from sweeps.analysis.rows import COLUMNS, summarise
from sweeps.config.grid import Entry, Grid
from sweeps.config.outputs import Outputs
from sweeps.console.terminal import duration
from sweeps.reports.figure import save
from sweeps.reports.figure_rates import success_figure
from sweeps.reports.tables import headline, to_csv, to_text
from world_models.errors import UnknownNameError, UserError


def point(planner="gd", horizon=10):
    return Point(Named.of("wall"), "m", "d", Named.of(planner), horizon)


def grid(planners=("grasp", "gd"), horizons=(10,), seeds=(0, 1, 2, 3)):
    entries = (Entry("wall", planner, "px", point(planner, horizon)) for horizon in horizons for planner in planners)
    return Grid("s", tuple(entries), seeds)


def record(entry, seed, success=True, status="completed", distance: float | None = 1.0, seconds: float | None = 2.0):
    facts = {"status": status, "success": success, "model_success": True, "distance": distance, "plan_seconds": seconds}
    facts |= {"start_distance": 10.0, "steps_to_success": 8 if success else None, "evaluations": 100}
    return {"point_id": entry.point.point_id, "seed": seed, **facts}


def table(records):
    return pa.Table.from_pylist(records, schema=pa.schema([SCHEMA.field(name) for name in COLUMNS]))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemars_p_value_is_the_exact_binomial_one(a, b):
    expected = binomtest(a, a + b).pvalue if a + b else 1.0
    assert Paired(100, a, b).p_value == pytest.approx(expected)


def seeds_and_successes(by_seed: dict[int, bool]):
    return np.array(list(by_seed), np.int64), np.array(list(by_seed.values()), bool)


def test_pairs_are_common_seeds_only():
    result = paired(
        seeds_and_successes({0: True, 1: True, 2: False, 9: True}), seeds_and_successes({0: False, 1: True, 2: True, 7: True})
    )
    assert result == Paired(3, 1, 1)
    assert result.difference == 0.0
    assert paired(seeds_and_successes({1: True}), seeds_and_successes({2: True})).difference is None


def test_a_row_counts_successes_failures_and_what_is_missing():
    sweep = grid()
    grasp, gd = sweep.entries
    records = [
        record(grasp, 0, True, distance=1.0, seconds=1.0),
        record(grasp, 1, False, distance=5.0, seconds=3.0),
        record(grasp, 2, False, "failed", None, None),
        record(gd, 0, False, "non_finite", 9.0, 2.0),
        record(gd, 1, True),
        record(gd, 2, True),
        record(gd, 3, True),
        record(gd, 99, True),
        record(Entry("wall", "cem", "px", point("cem")), 0),
    ]
    first, second = summarise(sweep, table(records))
    assert (first.success.successes, first.success.trials, first.failed, first.missing) == (1, 2, 1, 1)
    assert (first.distance, first.plan_seconds, first.versus) == (3.0, 2.0, None)
    assert (second.success.successes, second.success.trials, second.failed, second.missing) == (3, 4, 0, 0)
    assert (first.solved_seconds, first.steps, first.evaluations) == (1.0, 8, 100)
    assert second.reference == "grasp"
    assert second.versus is not None
    assert second.versus.success == Paired(2, 1, 1)
    assert second.versus.nearer == (1.0, 2)
    assert second.versus.progress_interval is None, "two pairs know nothing of an interval"


def test_the_order_of_records_does_not_matter():
    sweep = grid(horizons=(10, 20))
    records = [record(entry, seed, seed % 2 == 0) for entry in sweep.entries for seed in sweep.seeds]
    assert to_csv(summarise(sweep, table(records))) == to_csv(summarise(sweep, table(records[::-1])))


def test_an_empty_ledger_gives_a_table_that_says_so():
    rows = summarise(grid(), table([]))
    assert [row.missing for row in rows] == [4, 4]
    assert "missing" in to_text(rows, "s")
    assert "- | -" in headline(rows)
    assert to_csv(rows).count("\n") == 3


def test_csv_has_full_precision_and_the_text_has_the_interval():
    sweep = grid(planners=("gd",))
    rows = summarise(sweep, table([record(sweep.entries[0], seed, seed > 0, distance=1 / 3) for seed in sweep.seeds]))
    (line,) = csv.DictReader(io.StringIO(to_csv(rows)))
    assert float(line["success_rate"]) == 0.75
    assert float(line["median_distance"]) == 1 / 3
    assert (float(line["success_low"]), float(line["success_high"])) == wilson(3, 4)
    assert "0.75 [0.30, 0.95]" in to_text(rows, "s")


def test_the_figure_is_a_legible_png_and_absent_without_results(tmp_path):
    sweep = grid(planners=("grasp", "cem", "gd"), horizons=(10, 20))
    rows = summarise(sweep, table([record(entry, seed, seed > 1) for entry in sweep.entries for seed in sweep.seeds]))
    figure = success_figure(rows, "sweep s")
    assert figure is not None
    with Image.open(save(figure, tmp_path / "success.png")) as image:
        assert image.format == "PNG"
        assert min(image.size) >= 400
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 50
    assert success_figure(summarise(sweep, table([])), "s") is None


def test_saved_sweeps_are_found_by_name_and_the_latest_without(tmp_path):
    outputs = Outputs(tmp_path)
    with pytest.raises(UserError, match="no sweep has been run"):
        outputs.load()
    outputs.save(grid(), "a: 1\n")
    assert outputs.load() == outputs.load("s") == grid()
    with pytest.raises(UnknownNameError, match="'s'"):
        outputs.load("ss")
    (outputs.sweep("s") / "sweep.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="run the sweep again"):
        outputs.load("s")


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.7, "1 min 0 s"), (200.0, "3 min 20 s"), (7500.0, "2 h 5 min")])
def test_durations_are_printed_in_two_units(seconds, text):
    assert duration(seconds) == text
