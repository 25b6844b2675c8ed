"""A sweep's whole report: tables, figures and page, of every shape that a sweep can have."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from rich.console import Console

from orchestrator.cells import Named, Point
from orchestrator.curves import COST_SAMPLES, distance_times
from orchestrator.ledger import Ledger
from orchestrator.records import CellResult
from sweeps.cli import main
from sweeps.comparison import Verdict
from sweeps.figure import COLOURS, save
from sweeps.figure_courses import COLUMNS as CURVE_COLUMNS
from sweeps.figure_overall import Kind, kinds_of
from sweeps.figures import Drawn, figures
from sweeps.grid import Entry, Grid
from sweeps.html_report import html_report
from sweeps.outputs import Outputs
from sweeps.point_cells import records_of
from sweeps.report_effort import HEADINGS, effort_fields, effort_text
from sweeps.report_tables import to_latex
from sweeps.review import COLUMNS, Review, review
from sweeps.show import show
from tests.fakes import quick_result

TASKS = {"wall": (50, 100), "push_t": (25,)}
PLANNERS = ("grasp", "cem", "gd")
ALL = {"success", "differences", "seconds", "failures", "model", "profile", "costs", "distances"}


def grid_of(seeds: int, tasks: dict[str, tuple[int, ...]] = TASKS, planners: tuple[str, ...] = PLANNERS) -> Grid:
    entries = [
        Entry(task, planner, "px", Point(Named.of(task), task, "ab" * 8, Named.of(planner, {"lr": 0.1}), horizon))
        for task, horizons in tasks.items()
        for horizon in horizons
        for planner in planners
    ]
    return Grid("demo", tuple(entries), tuple(range(seeds)))


def results(grid: Grid, failed: float = 0.02, chance: float = 0.9) -> Iterable[CellResult]:
    """grasp solves the most; a cell that cem solves grasp solves, too."""
    for i, entry in enumerate(grid.entries):
        (template,) = quick_result(entry.point, (0,)).results
        place = PLANNERS.index(entry.planner) if entry.planner in PLANNERS else i % len(PLANNERS)
        random, skill = np.random.default_rng(i), chance - 0.25 * place
        for seed in grid.seeds:
            won, horizon = bool(np.random.default_rng(seed).random() < skill), entry.point.horizon
            broken = random.random() < failed
            end = 1.0 if won else 30 + 10 * random.random()
            way = np.linspace(60, end, len(distance_times(horizon)))
            record = replace(
                template,
                cell_id=entry.point.cell(seed).cell_id,
                seed=seed,
                status="completed",
                error=None,
                success=won and not broken,
                model_success=won or random.random() < 0.3,
                distance=float(end),
                start_distance=60.0,
                steps_to_success=horizon if won else None,
                plan_seconds=float(random.random() + i),
                costs=tuple(np.exp(-np.linspace(0, 5 * skill + random.random(), COST_SAMPLES)).tolist()),
                distances=tuple(way.tolist()),
            )
            lost = {
                "status": "failed",
                "error": "RuntimeError: <boom> & more",
                "distance": None,
                "costs": None,
                "distances": None,
            }
            yield replace(record, **lost) if broken else record


def written(grid: Grid, folder: Path, cells: Iterable[CellResult]) -> tuple[Outputs, Ledger]:
    outputs = Outputs(folder)
    ledger = Ledger(outputs.ledger)
    with ledger.writer():
        ledger.append(list(cells))
    outputs.save(grid, "name: demo\n")
    return outputs, ledger


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Review, list[Drawn]]:
    grid = grid_of(40)
    _, ledger = written(grid, tmp_path_factory.mktemp("demo"), results(grid))
    found = review(grid, records_of(grid, ledger, COLUMNS))
    return found, list(figures(found, records_of(grid, ledger, CURVE_COLUMNS)))


def words(figure: Figure) -> str:
    """All text of a figure, and what its axes say."""
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))


def test_every_figure_is_there_and_says_its_n(seen: tuple[Review, list[Drawn]]) -> None:
    assert {one.name for one in seen[1]} == ALL
    for one in seen[1]:
        said = words(one.figure)
        assert re.search(r"\bn = \d+", said), (one.name, said)
        assert "sweep demo" in said


SHAPES = {
    "as in README": ("demo", TASKS, PLANNERS),
    "one task, a long name": ("quality_own_point_maze_umaze_H50_again", {"wall": (50,)}, PLANNERS),
    "many tasks and planners": (
        "demo",
        {f"point_maze_{n}": (50, 100) for n in range(7)},
        tuple(f"planner_{n}" for n in range(8)),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_figures_are_legible_at_the_width_of_a_page(shape: str, tmp_path: Path) -> None:
    """A README shows 880 pixels: at that width no letter is lower than 8 of them; nothing is cut off, nothing overlaps."""
    name, tasks, planners = SHAPES[shape]
    grid = replace(grid_of(6, tasks, planners), name=name)
    _, ledger = written(grid, tmp_path, results(grid, failed=0.1))
    for one in figures(review(grid, records_of(grid, ledger, COLUMNS)), records_of(grid, ledger, CURVE_COLUMNS)):
        with Image.open(save(one.figure, tmp_path / f"{one.name}.png")) as image:
            scale = min(1.0, 880 / image.width) * 150 / 72
        figure = one.figure
        figure.canvas.draw()
        texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]
        assert min(float(text.get_fontsize()) for text in texts) * scale >= 8, one.name
        drawn, whole = figure.get_tightbbox(), figure.bbox_inches
        assert min(drawn.x0, drawn.y0) >= -0.01, one.name
        assert drawn.x1 <= whole.x1 + 0.01, one.name
        assert drawn.y1 <= whole.y1 + 0.01, one.name
        parts = [*(axis for axis in figure.axes if axis.get_visible()), *figure.legends, *figure.texts]
        boxes = [part.get_tightbbox().shrunk(0.98, 0.98) for part in parts]
        assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])], one.name


def test_at_many_horizons_intervals_do_not_hide_each_other(tmp_path: Path) -> None:
    grid = grid_of(4, {"wall": tuple(range(10, 140, 2))})
    _, ledger = written(grid, tmp_path, results(grid))
    found = review(grid, records_of(grid, ledger, COLUMNS))
    drawn = {one.name: one.figure for one in figures(found, records_of(grid, ledger, CURVE_COLUMNS))}
    for name in ("success", "seconds", "model"):
        (axis,) = drawn[name].axes
        assert not axis.containers, "no bars"
        assert [text.get_text() for text in axis.texts] == [], "no number at every point"
        said = words(drawn[name]).replace("\n", " ")
        assert ("intervals are in report.csv" in said) == (name != "success")
        assert "numbers are" not in said


def test_nothing_is_drawn_outside_of_its_axes(seen: tuple[Review, list[Drawn]]) -> None:
    """Panels share their vertical axis: it holds what the last one shows, too."""
    for one in seen[1]:
        for axis in one.figure.axes:
            low, high = sorted(axis.get_ylim())
            for line in axis.lines:
                y = np.asarray(line.get_ydata(), float)
                if line.get_transform().contains_branch(axis.transData):
                    assert low <= float(np.nanmin(y)), one.name
                    assert float(np.nanmax(y)) <= high, one.name


def test_points_on_each_other_are_drawn_side_by_side(tmp_path: Path) -> None:
    grid = grid_of(6, {"wall": (50,)})
    _, ledger = written(grid, tmp_path, results(grid, failed=0.0, chance=2.0))
    found = review(grid, records_of(grid, ledger, COLUMNS))
    drawn = {one.name: one.figure for one in figures(found, records_of(grid, ledger, CURVE_COLUMNS))}
    (axis,) = drawn["model"].axes
    places = [float(container.lines[0].get_xdata()[0]) for container in axis.containers]  # pyright: ignore
    assert len(set(places)) == len(PLANNERS)
    assert np.mean(places) == pytest.approx(1.0)
    assert axis.get_xlim()[1] >= max(places)


def test_planners_have_one_colour_in_all_figures_and_differ_without_colour(seen: tuple[Review, list[Drawn]]) -> None:
    for one in seen[1]:
        if one.name in ("failures", "differences"):
            continue
        for axis in one.figure.axes:
            handles, labels = axis.get_legend_handles_labels()
            looks = {
                label: handle[0] if isinstance(handle, tuple) else handle for handle, label in zip(handles, labels, strict=True)
            }
            for planner, line in looks.items():
                assert line.get_color() == COLOURS[PLANNERS.index(planner)], one.name
            assert len({line.get_marker() for line in looks.values()}) == len(looks), one.name


def test_the_palette_is_told_apart_by_colour_blind_readers() -> None:
    """Simulated by Machado et al. (2009) at full severity: any two of the colours stay apart."""
    simulated = {
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    colours = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in COLOURS])
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    for matrix in simulated.values():
        shown = np.clip(linear @ np.array(matrix).T, 0, 1) ** (1 / 2.2)
        gaps = np.linalg.norm(shown[:, None] - shown[None], axis=-1) + 9 * np.eye(len(shown))
        assert gaps.min() > 0.1


def test_lines_show_the_numbers_of_the_table(seen: tuple[Review, list[Drawn]]) -> None:
    found, drawn = seen
    figure = next(one.figure for one in drawn if one.name == "success")
    wall = figure.axes[0]
    for container in wall.containers:
        shown = container.lines[0].get_ydata()  # pyright: ignore
        rows = [row for row in found.rows if row.entry.task == "wall" and row.entry.planner == container.get_label()]
        assert list(shown) == [row.success.value for row in rows]
    gaps = next(one.figure for one in drawn if one.name == "differences").axes[0]
    values = [container.lines[0].get_xdata()[0] for container in gaps.containers]  # pyright: ignore
    assert values == [row.versus.success.difference for row in found.rows if row.versus]


def test_bands_are_quartiles_over_problems(seen: tuple[Review, list[Drawn]]) -> None:
    axis = next(one.figure for one in seen[1] if one.name == "distances").axes[0]
    assert axis.get_title() == "wall, H = 100"
    x = axis.lines[0].get_xdata()
    assert (x[0], x[-1]) == (0, 100)  # pyright: ignore
    assert axis.lines[0].get_ydata()[0] == 1.0  # pyright: ignore
    medians = [line.get_ydata()[-1] for line in axis.lines]  # pyright: ignore
    assert medians[0] <= medians[1] <= medians[2], "who solves more ends nearer"


def test_kinds_of_endings_add_up(seen: tuple[Review, list[Drawn]]) -> None:
    for row in seen[0].rows:
        cells = seen[0].cells[row.entry.point.point_id]
        kinds = kinds_of(cells)
        assert sum(kinds.values()) == len(cells)
        assert kinds[Kind.SOLVED] == row.success.successes
        assert kinds[Kind.FAILED] == row.failed


def test_planners_over_all_settings(seen: tuple[Review, list[Drawn]]) -> None:
    grasp, cem, gd = seen[0].overall
    assert (grasp.settings, grasp.nearer, grasp.verdicts) == (3, None, {})
    assert grasp.success > cem.success > gd.success
    assert sum(cem.verdicts.values()) == 3
    assert gd.verdicts[Verdict.WORSE] == 3
    assert gd.nearer is not None
    assert gd.nearer < 0.5
    for one in seen[0].overall:
        assert one.progress_interval is not None
        assert one.progress_interval[0] <= one.progress <= one.progress_interval[1]
        assert np.all(np.diff(one.profile) <= 0)


def test_what_it_took_is_told_of_all_trials_and_of_successes_each_named_so(seen: tuple[Review, list[Drawn]]) -> None:
    row = next(row for row in seen[0].rows if row.versus is not None and row.success.successes < row.success.trials)
    told = dict(zip(HEADINGS, effort_fields(row), strict=True))
    ran = seen[0].cells[row.entry.point.point_id].done
    assert told["s/plan, all"] == f"{ran.seconds.mean():.2f}"
    assert told["s/plan, solved"] == f"{ran.seconds[ran.success].mean():.2f}"
    assert told["steps"] == f"{np.median(ran.steps[ran.success]):.0f}"
    assert told["n"] == str(row.success.trials)
    assert re.fullmatch(r"0\.\d\d \[0\.\d\d, [01]\.\d\d\]", told["ends nearer [95 %]"])
    assert effort_fields(seen[0].rows[0])[-1] == "", "the first planner is compared with nobody"
    assert "s/plan, solved" in effort_text(seen[0].rows, 132)


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_pictures_that_are_there_already_are_not_drawn_again(seen: tuple[Review, list[Drawn]], tmp_path: Path) -> None:
    found, drawn = seen
    for one in drawn:
        (tmp_path / f"{one.name}.png").write_bytes(b"picture of " + one.name.encode())
    page = Page()
    page.feed(html_report(found, drawn, tmp_path))
    sources = [base64.b64decode((image["src"] or "").removeprefix("data:image/png;base64,")) for image in page.all("img")]
    assert sources == [b"picture of " + one.name.encode() for one in drawn]


def test_the_page_needs_nothing_else_and_holds_every_seed(seen: tuple[Review, list[Drawn]]) -> None:
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


def test_latex_is_escaped_and_has_a_line_a_point(seen: tuple[Review, list[Drawn]]) -> None:
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
    text = (outputs.sweep("demo") / "report.csv").read_text()
    assert "better" not in text
    assert "worse" not in text


def test_more_tasks_and_planners_than_can_be_drawn_are_counted(tmp_path: Path) -> None:
    tasks, planners = {f"task{i}": (10,) for i in range(14)}, PLANNERS
    grid = grid_of(6, tasks, planners)
    _, ledger = written(grid, tmp_path, results(grid))
    found = review(grid, records_of(grid, ledger, COLUMNS))
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
    page = (tmp_path / "sweeps" / "demo" / "report.html").read_text()
    assert "9 cells are missing" in page
