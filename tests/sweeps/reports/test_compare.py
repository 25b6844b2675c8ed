"""`grasp compare`: common seeds only, tests adjusted for their number, and no winner where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import binomtest

from orchestrator.core.cell import Named, Point
from orchestrator.ledger.records import SCHEMA
from sweeps.analysis.comparison import Verdict
from sweeps.analysis.intervals import adjusted
from sweeps.cli.main import main
from sweeps.config.grid import Entry, Grid
from sweeps.reports.compare import COLUMNS, Side, comparison_rows
from sweeps.running.sweep import sweep
from world_models.errors import UserError


def entry(task: str = "wall", planner: str = "gd", horizon: int = 10, model: str = "m", rate: float = 0.1) -> Entry:
    return Entry(task, planner, "px", Point(Named.of(task), model, model, Named.of(planner, {"lr": rate}), horizon))


def made(name: str, cells: dict[Entry, dict[int, tuple[bool, float | None]]], failed: tuple[int, ...] = ()) -> Side:
    """A sweep whose cells have these results, by entry and seed."""
    rows = [
        {
            "point_id": one.point.point_id,
            "seed": seed,
            "status": "failed" if seed in failed else "completed",
            "success": success,
            "distance": distance,
            "git_revision": name,
            "model_digest": one.point.model_digest,
        }
        for one, by_seed in cells.items()
        for seed, (success, distance) in by_seed.items()
    ]
    seeds = tuple(sorted({row["seed"] for row in rows}))
    table = pa.Table.from_pylist(rows, schema=pa.schema([SCHEMA.field(column) for column in COLUMNS]))
    return Side(name, Grid(name, tuple(cells), seeds), table)


def results_by_seed(wins: int, of: int, start: int = 0) -> dict[int, tuple[bool, float | None]]:
    return {start + seed: (seed < wins, float(seed)) for seed in range(of)}


def test_a_condition_is_compared_on_common_seeds_whatever_the_settings() -> None:
    a = made("a", {entry(rate=0.1): {0: (True, 1.0), 1: (False, 2.0), 2: (True, 3.0), 9: (True, 0.0)}})
    b = made("b", {entry(rate=0.2): {2: (False, 4.0), 1: (True, 1.0), 0: (True, 1.0), 7: (False, 9.0)}})
    (row,) = comparison_rows(a, b)
    assert (row.versus.success.pairs, row.versus.success.only_a, row.versus.success.only_b) == (3, 1, 1)
    assert (row.first.successes, row.second.successes) == (2, 2)
    assert row.versus.nearer == (1.5, 3)
    assert row.versus.verdict is Verdict.UNCLEAR


def test_failed_cells_are_not_compared() -> None:
    a = made("a", {entry(): results_by_seed(2, 4)}, failed=(0,))
    b = made("b", {entry(): results_by_seed(2, 4)}, failed=(3,))
    assert comparison_rows(a, b)[0].versus.success.pairs == 2


def test_the_better_one_is_named_whichever_way_round() -> None:
    weak, strong = made("weak", {entry(): results_by_seed(5, 40)}), made("strong", {entry(): results_by_seed(35, 40)})
    forwards, backwards = comparison_rows(weak, strong)[0], comparison_rows(strong, weak)[0]
    assert (forwards.versus.verdict, backwards.versus.verdict) == (Verdict.BETTER, Verdict.WORSE)
    assert forwards.versus.success.difference == -(backwards.versus.success.difference or 0)
    assert forwards.versus.q_value == pytest.approx(binomtest(0, 30).pvalue)


def test_one_difference_among_many_must_be_larger() -> None:
    same = {entry(horizon=horizon): results_by_seed(10, 20) for horizon in range(2, 12)}
    lucky = {**same, entry(horizon=1): results_by_seed(16, 20)}
    base = {**same, entry(horizon=1): results_by_seed(10, 20)}
    alone = comparison_rows(
        made("a", {entry(horizon=1): results_by_seed(10, 20)}), made("b", {entry(horizon=1): results_by_seed(16, 20)})
    )
    assert alone[0].versus.verdict is Verdict.BETTER
    among = comparison_rows(made("a", base), made("b", lucky))
    assert [row.versus.verdict for row in among] == [Verdict.UNCLEAR] * 11


def test_models_are_matched_by_name_if_there_are_several_and_with_each_other_otherwise() -> None:
    both = {entry(model="m"): results_by_seed(1, 4), entry(model="n"): results_by_seed(3, 4)}
    rows = comparison_rows(made("a", both), made("b", both))
    assert [(row.entry.point.model, row.versus.success.only_a) for row in rows] == [("m", 0), ("n", 0)]
    old, new = made("old", {entry(model="m"): results_by_seed(1, 4)}), made("new", {entry(model="n"): results_by_seed(3, 4)})
    assert comparison_rows(old, new)[0].versus.success.only_a == 2


def test_nothing_in_common_is_one_sentence() -> None:
    a = made("a", {entry("wall"): results_by_seed(1, 2)})
    apart = "horizon and list of problems in common: a has wall gd H10, b has push_t gd H10"
    with pytest.raises(UserError, match=apart):
        comparison_rows(a, made("b", {entry("push_t"): results_by_seed(1, 2)}))
    with pytest.raises(UserError, match="no planned seed in common: a has seeds 0 to 1, b has seeds 100 to 101"):
        comparison_rows(a, made("b", {entry("wall"): results_by_seed(1, 2, start=100)}))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_p_values_are_benjamini_and_hochbergs(p_values: list[float]) -> None:
    m, order = len(p_values), np.argsort(p_values)
    expected = np.empty(m)
    least = 1.0
    for rank in range(m, 0, -1):
        least = min(least, p_values[order[rank - 1]] * m / rank)
        expected[order[rank - 1]] = least
    assert adjusted(p_values) == pytest.approx(expected.tolist())


def test_false_discoveries_under_the_null_are_as_rare_as_stated() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(300):
        p_values = rng.uniform(size=20)
        alarms += min(adjusted(p_values.tolist())) <= 0.05
    # Binomial(300, 0.05) exceeds 27 in 0.1 % of cases.
    assert alarms <= 27


def test_the_verb_compares_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["name=s", "task=wall", "planner=gd", "horizons=[25]", "seeds=3", "backend=inline", "tracking.enabled=false"]
    for folder, iterations in (("old", 1), ("new", 8)):
        more = [f"planners.gd.settings.iterations={iterations}", f"output={tmp_path / folder}"]
        assert sweep([*words, *more], Console(quiet=True)) == 0
    assert main(["compare", f"s@{tmp_path / 'old'}", "s", f"output={tmp_path / 'new'}"]) == 0
    said = capsys.readouterr().out
    assert "of 1 comparisons: 1 unclear" in said
    assert "revision" in said
    assert main(["compare", "s", "s", f"output={tmp_path / 'new'}"]) == 0
    assert capsys.readouterr().out == "s and s: all 3 cells are the same records\n"
    more = ["seeds=4", "planners.gd.settings.iterations=8", "name=t", f"output={tmp_path / 'new'}"]
    assert sweep([*words, *more], Console(quiet=True)) == 0
    assert main(["compare", "s", "t", f"output={tmp_path / 'new'}"]) == 0
    assert capsys.readouterr().out == "s and t: all 3 cells that both have are the same records\n"
    assert main(["compare", "s", f"output={tmp_path / 'new'}"]) == 2
    assert main(["compare", "s", "u", f"output={tmp_path / 'new'}"]) == 2


def test_records_that_both_have_are_told_from_those_that_differ() -> None:
    same, other = entry(planner="gd"), entry(planner="cem")
    a = made("a", {same: results_by_seed(3, 6), other: results_by_seed(3, 6)})
    b = made("b", {same: results_by_seed(3, 6), entry(planner="cem", rate=0.3): results_by_seed(2, 6)})
    rows = comparison_rows(a, b)
    assert [(row.shared, row.is_shared) for row in rows] == [(6, True), (0, False)]
