"""The planning-quality page from made-up results: its numbers counted again in plain Python, its words, its bytes."""

from __future__ import annotations

import shutil
from math import comb
from pathlib import Path

import pyarrow as pa
import pytest
from scipy.stats import binomtest

from sweeps.quality.opening import opening
from sweeps.quality.page import build, read_notes
from sweeps.quality.results import SCHEMA, Results, read, write
from sweeps.quality.tables import measured_points, points_of_part, shown_failures, targets
from tests.sweeps.quality.made_up_quality import FACTS, made_up
from tests.sweeps.quality.made_up_quality import row as made_up_row
from world_models.errors import UserError

RATES = {"grasp": 0.5, "gd": 0.4, "cem": 0.9, "gd_timed": 0.1, "cem_timed": 0.5, "grasp_no_noise": 0.3}


def mixed(part: str, planner: str, seed: int) -> bool:
    """The first problems are the easy ones."""
    return (seed - 2000) / 32 < RATES.get(planner, 0.5)


def mcnemar(a: int, b: int) -> float:
    return min(1.0, 2 * sum(comb(a + b, k) for k in range(min(a, b) + 1)) / 2 ** (a + b))


def section(text: str, title: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    body = text.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in body.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


RowKey = tuple[str, str, str]
"""Task, horizon as in the tables, planner."""
PUBLISHED = Path(__file__).parents[3] / "docs" / "planning-quality" / "results.parquet"


def cells(results: Results, part: str) -> dict[RowKey, list[dict]]:
    """Cells that ran, by task, horizon and planner."""
    found: dict[RowKey, list[dict]] = {}
    for row in results.table.to_pylist():
        if row["part"] == part and row["status"] != "failed":
            way = "" if row["mode"] == "open_loop" else f" {row['mode']}"
            found.setdefault((row["task"], f"{row['horizon']}{way}", row["planner"]), []).append(row)
    return found


def number(values: list[float]) -> str:
    return f"{sum(values) / len(values):.3g}" if values else "-"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    results = made_up(mixed)
    return results, folder, build(results, folder).read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=["made up", "published"])
def page(request, built):
    """Results, and the page that tells them."""
    if request.param == "made up":
        return built[0], built[2]
    return read(PUBLISHED), (PUBLISHED.parent.parent / "planning-quality.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("title", "part"), [("Own budgets", "own"), ("Equal seconds", "equal")])
def test_success_and_verdicts_are_those_of_the_cells(page, title, part):
    results, text = page
    by = cells(results, part)
    solved = {key: {row["seed"]: row["success"] for row in rows} for key, rows in by.items()}
    others = [spot for spot in by if spot[2] != "grasp"]
    p_values = {}
    for spot in others:
        mine, grasp = solved[spot], solved[(*spot[:2], "grasp")]
        common = mine.keys() & grasp.keys()
        gained = sum(mine[seed] and not grasp[seed] for seed in common)
        lost = sum(grasp[seed] and not mine[seed] for seed in common)
        p_values[spot] = (mcnemar(gained, lost), (gained - lost) / len(common))
    # Benjamini and Hochberg: the largest p-value stays, a smaller one is at most the next larger adjusted one.
    adjusted, last = {}, 1.0
    for rank, spot in reversed(list(enumerate(sorted(others, key=lambda spot: p_values[spot][0]), 1))):
        last = adjusted[spot] = min(last, p_values[spot][0] * len(others) / rank)
    shown = section(text, title)
    assert {tuple(row[:3]) for row in shown} == by.keys()
    for task, horizon, label, success, n, versus, *_ in shown:
        spot = (task, horizon, label)
        count, rows = sum(row["success"] for row in by[spot]), by[spot]
        low, high = binomtest(count, len(rows)).proportion_ci(0.95, "wilson")
        assert success == f"{count / len(rows):.2f} [{low:.2f}, {high:.2f}]"
        assert n.split(" ")[0] == str(len(rows))
        if label == "grasp":
            assert versus == ""
            continue
        _, gap = p_values[spot]
        verdict = "unclear" if adjusted[spot] > 0.05 or gap == 0 else "better" if gap > 0 else "worse"
        assert versus.startswith(f"{gap:+.2f} [")
        assert versus.endswith(verdict)


def test_failed_cells_are_counted_apart(built):
    shown = section(built[2], "Own budgets")
    assert [row[4] for row in shown] == ["32", "32", "31 (1 failed)"]


def test_seconds_and_evaluations_are_means_over_all_cells_that_ran(page):
    results, text = page
    by = cells(results, "own")
    for task, horizon, label, every, solved, steps in section(text, "Seconds and model evaluations"):
        rows = by[(task, horizon, label)]
        assert every == number([row["plan_seconds"] for row in rows])
        assert solved == number([row["plan_seconds"] for row in rows if row["success"]])
        assert steps == f"{sum(row['evaluations'] for row in rows) / len(rows):.0f}"


def test_success_in_the_model_is_next_to_that_in_the_simulator(page):
    results, text = page
    by = cells(results, "own")
    shown = section(text, "In the model and in the simulator")
    assert shown
    for task, horizon, label, predicted, won, lost in shown:
        rows = by[(task, horizon, label)]
        rates = [sum(row[name] for row in rows) / len(rows) for name in ("model_success", "success")]
        assert [predicted, won, lost] == [f"{rates[0]:.2f}", f"{rates[1]:.2f}", f"{rates[0] - rates[1]:+.2f}"]


def test_the_published_page_is_made_of_the_published_results(tmp_path):
    """Everything except the figures' bytes, which depend on the drawing library's version."""
    assets = tmp_path / "planning-quality"
    shutil.copytree(PUBLISHED.parent, assets)
    assert PUBLISHED.stat().st_size < 5_000_000
    assert build(read(PUBLISHED), tmp_path).read_text(encoding="utf-8") == (
        PUBLISHED.parent.parent / "planning-quality.md"
    ).read_text(encoding="utf-8")
    assert (assets / "results.parquet").read_bytes() == PUBLISHED.read_bytes()


def test_the_opening_says_how_often_grasp_wins_and_loses(built):
    _, _, text = built
    _, sentences, table, *_ = text.split("\n\n")
    first, second, third = sentences.splitlines()
    assert first == (
        "With own budgets, GRASP alone succeeds more often than another planner in 0 of 2 comparisons and less often in 1; "
        "in 1 the difference is unclear."
    )
    assert second.startswith("Within equal seconds, GRASP alone succeeds more often than another planner in 1 of 2")
    assert third.startswith("The table counts")
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]] == [
        ["gd", "0", "0", "1", "1", "0", "0"],
        ["cem", "0", "1", "0", "0", "0", "1"],
    ]


def test_the_opening_stays_short_and_its_counts_are_those_of_the_tables(page):
    """Three sentences of a line each, and a row per planner: whatever the study holds."""
    _, text = page
    _, sentences, table, *_ = text.split("\n\n")
    assert len(sentences.splitlines()) == 3
    assert all(len(line) < 200 for line in sentences.splitlines())
    counted = [[int(cell) for cell in line.strip("|").split("|")[1:]] for line in table.splitlines()[2:]]
    titles = ("Own budgets", "Equal seconds")
    versus = {title: [row[5].rsplit(" ", 1)[-1] for row in section(text, title) if row[5]] for title in titles}
    for at, title in enumerate(titles):
        for offset, verdict in enumerate(("worse", "better", "unclear")):  # said of the other planner
            assert sum(row[3 * at + offset] for row in counted) == versus[title].count(verdict)


def test_every_difference_of_a_place_is_that_of_its_table(page):
    _, text = page
    shown = {"worse": 0, "better": 0}
    tables = {
        budget: {
            (f"{task} H{horizon}", planner.removesuffix("_timed")): versus
            for task, horizon, planner, _, _, versus, *_ in section(text, title)
        }
        for budget, title in (("own budgets", "Own budgets"), ("equal seconds", "Equal seconds"))
    }
    for place, budget, worse, better, unclear in section(text, "Comparisons by condition"):
        for cell, verdict in ((worse, "better"), (better, "worse"), (unclear, "unclear")):
            for entry in cell.split(", ") if cell != "-" else ():
                planner, difference = entry.split(" ")
                versus = tables[budget][place, planner]
                assert versus.startswith(difference)
                assert versus.endswith(verdict)
                shown[verdict] = shown.get(verdict, 0) + 1
    every = [versus.rsplit(" ", 1)[-1] for table in tables.values() for versus in table.values() if versus]
    assert [shown[verdict] for verdict in ("worse", "better")] == [every.count(verdict) for verdict in ("worse", "better")]


def test_nothing_is_called_better_where_the_test_says_unclear():
    results = made_up(lambda part, planner, seed: (seed - 2000) / 32 < (0.6 if planner == "cem" else 0.5))
    first, *_ = opening(points_of_part(measured_points(results), "own"), [])
    assert "in 0 of 2 comparisons and less often in 0; in 2 the difference is unclear" in first


def test_targets_are_met_or_missed_by_the_measured_rates():
    found = targets(measured_points(made_up(mixed)), FACTS)
    assert [one.met for one in found] == [False, True, False]
    assert "grasp 0.50" in found[0].measured
    faster = targets(measured_points(made_up(lambda part, planner, seed: True)), FACTS)
    assert [one.met for one in faster] == [True, True, True]
    assert "1.00 against 1.00, in 0.21 of the seconds" in faster[2].measured


@pytest.mark.parametrize(("seconds", "solved", "met"), [(0.2, 30, True), (0.2, 28, False), (0.3, 30, False)])
def test_time_capped_grasp_can_meet_what_its_own_budget_does_not(seconds, solved, met):
    """CEM solves 0.9 of 31 problems in 1.2 s each, GRASP half of them in 0.25 s."""
    table = made_up(mixed).table
    time_capped = [
        made_up_row("hurried", "grasp_hurried_by_cem", seed, seed - 2000 < solved) | {"plan_seconds": seconds * 1.2016}
        for seed in range(2000, 2032)
    ]
    facts = {**FACTS, "aims": {"targets": [], "faster": FACTS["aims"]["faster"]}}
    results = Results(pa.concat_tables([table, pa.Table.from_pylist(time_capped, SCHEMA)]), facts)
    found = targets(measured_points(results), facts)
    assert [one.met for one in found] == [met]
    assert found[0].measured.startswith(f"grasp_hurried_by_cem {solved / 32:.2f} against 0.90, in {seconds:.2f}")


def test_an_unmeasured_target_is_not_met():
    unmeasured = {"targets": [{"task": "push_t", "horizon": 75, "mode": "open_loop", "at_least": 0.1}], "faster": []}
    (only,) = targets(measured_points(made_up(mixed)), {**FACTS, "aims": unmeasured})
    assert (only.met, only.measured) == (False, "not measured")


def test_the_same_results_give_the_same_bytes(built, tmp_path):
    results, folder, _ = built
    build(results, tmp_path)
    names = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    assert len(names) == 7  # page, results and five figures
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_results_come_back_as_they_were(built, tmp_path):
    results, folder, text = built
    back = read(folder / "planning-quality" / "results.parquet")
    assert back.table.equals(results.table)
    assert back.facts == results.facts
    assert build(back, tmp_path).read_text(encoding="utf-8") == text


def test_files_that_are_not_results_are_refused(tmp_path):
    with pytest.raises(UserError, match="is not a file"):
        read(tmp_path / "none.parquet")
    (tmp_path / "text").write_text("no table", encoding="utf-8")
    with pytest.raises(UserError, match="holds no results of grasp quality"):
        read(tmp_path / "text")
    write(Results(made_up(mixed).table, {**FACTS, "version": 99}), tmp_path / "later.parquet")
    with pytest.raises(UserError, match="another version"):
        read(tmp_path / "later.parquet")


def test_the_shown_failures_have_a_sentence_each(tmp_path):
    results = made_up(mixed)
    ((one, at),) = shown_failures(measured_points(results), FACTS)
    mine = cells(results, "own")["push_t", "50", "grasp"]
    assert one.cells.distance[at] == max(row["distance"] for row in mine)
    assets = tmp_path / "planning-quality"
    assets.mkdir()
    assert "not looked at yet" in build(results, tmp_path).read_text(encoding="utf-8")
    (assets / "worst.yaml").write_text(f'"{one.ids[at]}": the block is pushed from the wrong side.\n', encoding="utf-8")
    (assets / f"{one.ids[at]}.gif").touch()
    text = build(results, tmp_path).read_text(encoding="utf-8")
    assert "the block is pushed from the wrong side." in text
    assert f"planning-quality/{one.ids[at]}.gif" in text
    (assets / "remarks.md").write_text("## Why\n\nThe model slides.\n", encoding="utf-8")
    assert "|\n\n## Why\n\nThe model slides.\n\n## Own budgets" in build(results, tmp_path).read_text(encoding="utf-8")
    (assets / "worst.yaml").write_text("- a list\n", encoding="utf-8")
    with pytest.raises(UserError, match="is not a list of sentences"):
        read_notes(assets / "worst.yaml")


def test_the_page_says_what_is_behind_it(built):
    text = built[2]
    for words in (
        "2 cores at 2.1 GHz",
        "worker hours: 1.50 on tuning problems, 0.50 on test problems",
        "In 1 of 1 studies no trial beat the planner's own settings",
        "torch 2.13.0",
        "no sync \\| lowers success",
        "| push_t H50 | own budgets | cem +0.42 | - | - |",
    ):
        assert words in text
    assert len(text.splitlines()) == len([line for line in text.splitlines() if len(line) < 400])
