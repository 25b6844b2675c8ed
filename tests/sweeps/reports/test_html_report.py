"""A sweep's whole report: tables, figures and page, of every shape that a sweep can have."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from sweeps.analysis.comparison import Verdict
from sweeps.analysis.point_cells import records_of
from sweeps.analysis.summary import COLUMNS, SweepSummary, summary_of
from sweeps.cli.main import main
from sweeps.reports.figure_courses import COLUMNS as CURVE_COLUMNS
from sweeps.reports.figures import NamedFigure, figures
from sweeps.reports.html_report import html_report
from sweeps.reports.resource_use import HEADINGS, resource_use_fields, resource_use_text
from sweeps.reports.show import show
from sweeps.reports.tables import to_latex
from tests.support.made_up_review import ALL, PLANNERS, grid_of, results, reviewed, words, written


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepSummary, list[NamedFigure]]:
    return reviewed(tmp_path_factory.mktemp("demo"))


def test_resource_use_is_shown_for_all_trials_and_for_successes_each_labelled(
    seen: tuple[SweepSummary, list[NamedFigure]],
) -> None:
    row = next(row for row in seen[0].rows if row.versus is not None and row.success.successes < row.success.trials)
    shown = dict(zip(HEADINGS, resource_use_fields(row), strict=True))
    ran = row.cells.done
    assert shown["s/plan, all"] == f"{ran.seconds.mean():.2f}"
    assert shown["s/plan, solved"] == f"{ran.seconds[ran.success].mean():.2f}"
    assert shown["steps"] == f"{np.median(ran.steps[ran.success]):.0f}"
    assert shown["n"] == str(row.success.trials)
    assert re.fullmatch(r"0\.\d\d \[0\.\d\d, [01]\.\d\d\]", shown["ends nearer [95 %]"])
    assert resource_use_fields(seen[0].rows[0])[-1] == "", "the first planner is compared with nobody"
    assert "s/plan, solved" in resource_use_text(seen[0].rows, 132)


class Page(HTMLParser):
    """The parts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_existing_pictures_are_not_drawn_again(seen: tuple[SweepSummary, list[NamedFigure]], tmp_path: Path) -> None:
    found, drawn = seen
    for one in drawn:
        (tmp_path / f"{one.name}.png").write_bytes(b"picture of " + one.name.encode())
    page = Page()
    page.feed(html_report(found, drawn, tmp_path))
    sources = [base64.b64decode((image["src"] or "").removeprefix("data:image/png;base64,")) for image in page.all("img")]
    assert sources == [b"picture of " + one.name.encode() for one in drawn]


def test_the_page_needs_nothing_else_and_holds_every_seed(seen: tuple[SweepSummary, list[NamedFigure]]) -> None:
    found, drawn = seen
    text = html_report(found, drawn)
    page = Page()
    page.feed(text)
    sources = [image["src"] or "" for image in page.all("img")]
    assert len(sources) == len(ALL)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert base64.b64decode(sources[0].split(",")[1]).startswith(b"<?xml")
    assert not page.all("link")
    assert not [script for script in page.all("script") if script.get("src")]
    assert "<boom>" not in text, "what an error says is text, not markup"
    assert len([row for row in page.all("tr") if "data-row" in row]) == len(found.rows)
    seeds = json.loads(re.search(r'id="seeds"[^>]*>(.*?)</script>', text, re.S)[1])  # pyright: ignore
    assert [len(cells) for cells in seeds] == [40] * 9
    assert seeds[0][0][0] == 0
    assert found.grid.entries[0].point.cell(0).cell_id.startswith(seeds[0][0][3])


def test_the_same_ledger_gives_the_same_files(tmp_path: Path) -> None:
    grid = grid_of(6)
    outputs, ledger = written(grid, tmp_path / "a", results(grid))
    quiet, folder = Console(quiet=True), outputs.sweep("demo")
    show(grid, outputs, ledger, quiet, for_papers=True)
    files = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert {"report.html", "report.tex", "report.csv", "report.txt"} <= {file.name for file in files}
    assert {file.suffix for file in folder.glob("figures/*")} == {".png", ".pdf"}
    show(grid, outputs, ledger, quiet, for_papers=True)
    assert {file: file.read_bytes() for file in files} == files


def test_latex_is_escaped_and_has_one_line_per_point(seen: tuple[SweepSummary, list[NamedFigure]]) -> None:
    text = to_latex(seen[0].rows, "sweep a_b & 100 %")
    assert r"sweep a\_b \& 100 \%" in text
    assert r"push\_t & 25 & grasp" in text
    assert "success minus that of grasp" in text
    assert "in model" not in text, "the caption speaks of columns that are there"
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    assert body.count(r" \\") == len(seen[0].rows)
    assert len({line.count("&") for line in body.splitlines() if line.endswith(r"\\")}) == 1


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (lambda grid: results(grid, failed=1.0), {"failures"}),
        (lambda grid: [], set()),
        (lambda grid: [replace(one, costs=None, distances=None) for one in results(grid)], ALL - {"costs", "distances"}),
        (lambda grid: [replace(one, distance=None, model_success=None) for one in results(grid)], ALL - {"model", "profile"}),
    ],
    ids=["only failures", "nothing yet", "a ledger of an older schema", "no distances and no decoder"],
)
def test_sweeps_that_lack_something_are_reported_without_it(cells, names: set[str], tmp_path: Path) -> None:
    grid = grid_of(12)
    outputs, ledger = written(grid, tmp_path, cells(grid))
    stream = io.StringIO()
    shown = show(grid, outputs, ledger, Console(file=stream, width=140))
    assert {file.stem for file in shown.files if file.suffix == ".png"} == names
    assert (outputs.sweep("demo") / "report.html").exists()
    if names == {"failures"}:
        assert "108 cells failed with: RuntimeError: <boom> & more" in stream.getvalue()


def test_one_seed_makes_no_claims(tmp_path: Path) -> None:
    grid = grid_of(1)
    outputs, ledger = written(grid, tmp_path, results(grid, failed=0.0))
    shown = show(grid, outputs, ledger, Console(quiet=True))
    for row in shown.rows:
        assert row.success.interval[1] - row.success.interval[0] > 0.7
        assert row.versus is None or row.versus.verdict is Verdict.UNCLEAR
        assert row.versus is None or row.versus.progress_interval is None
    text = (outputs.sweep("demo") / "report.csv").read_text(encoding="utf-8")
    assert "better" not in text
    assert "worse" not in text


def test_more_tasks_and_planners_than_can_be_drawn_are_counted(tmp_path: Path) -> None:
    tasks, planners = {f"task{i}": (10,) for i in range(14)}, PLANNERS
    grid = grid_of(6, tasks, planners)
    _, ledger = written(grid, tmp_path, results(grid))
    found = summary_of(grid, records_of(grid, ledger, COLUMNS))
    drawn = {one.name: one.figure for one in figures(found, records_of(grid, ledger, CURVE_COLUMNS))}
    assert "the first 12 of 14 tasks" in words(drawn["success"])


def test_an_unknown_sweep_is_refused_with_the_nearest_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = grid_of(2)
    written(grid, tmp_path, results(grid))
    assert main(["report", "dmeo", f"output={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert "sweep 'dmeo'" in said
    assert "demo" in said


def test_a_report_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = grid_of(4)
    written(grid, tmp_path, [one for one in results(grid, failed=0.0) if one.seed < 3])
    assert main(["report", "demo", f"output={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert "9 cells are missing: run the sweep again" in said
    assert "s/plan, all" in said, "what it took is printed"
    page = (tmp_path / "sweeps" / "demo" / "report.html").read_text(encoding="utf-8")
    assert "9 cells are missing" in page
