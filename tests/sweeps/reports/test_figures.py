"""Figures of a sweep: complete, legible, distinguishable, and with the numbers of the table."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from sweeps.analysis.comparison import Verdict
from sweeps.analysis.point_cells import records_of
from sweeps.analysis.summary import COLUMNS, SweepSummary, summary_of
from sweeps.reports.figure import COLOURS, save
from sweeps.reports.figure_courses import COLUMNS as CURVE_COLUMNS
from sweeps.reports.figure_overall import CellEnding, count_endings
from sweeps.reports.figures import NamedFigure, figures
from tests.support.made_up_review import ALL, PLANNERS, TASKS, grid_of, results, reviewed, words, written


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepSummary, list[NamedFigure]]:
    return reviewed(tmp_path_factory.mktemp("demo"))


def test_every_figure_is_there_and_says_its_n(seen: tuple[SweepSummary, list[NamedFigure]]) -> None:
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
    """At the 880 pixels of a README no letter is lower than 8 pixels, nothing is cut off and nothing overlaps."""
    name, tasks, planners = SHAPES[shape]
    grid = replace(grid_of(6, tasks, planners), name=name)
    _, ledger = written(grid, tmp_path, results(grid, failed=0.1))
    for one in figures(summary_of(grid, records_of(grid, ledger, COLUMNS)), records_of(grid, ledger, CURVE_COLUMNS)):
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
    found = summary_of(grid, records_of(grid, ledger, COLUMNS))
    drawn = {one.name: one.figure for one in figures(found, records_of(grid, ledger, CURVE_COLUMNS))}
    for name in ("success", "seconds", "model"):
        (axis,) = drawn[name].axes
        assert not axis.containers, "no bars"
        assert [text.get_text() for text in axis.texts] == [], "no number at every point"
        said = words(drawn[name]).replace("\n", " ")
        assert ("intervals are in report.csv" in said) == (name != "success")
        assert "numbers are" not in said


def test_nothing_is_drawn_outside_of_its_axes(seen: tuple[SweepSummary, list[NamedFigure]]) -> None:
    """Panels share their vertical axis, which must also fit the last one."""
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
    found = summary_of(grid, records_of(grid, ledger, COLUMNS))
    drawn = {one.name: one.figure for one in figures(found, records_of(grid, ledger, CURVE_COLUMNS))}
    (axis,) = drawn["model"].axes
    positions = [float(container.lines[0].get_xdata()[0]) for container in axis.containers]  # pyright: ignore
    assert len(set(positions)) == len(PLANNERS)
    assert np.mean(positions) == pytest.approx(1.0)
    assert axis.get_xlim()[1] >= max(positions)


def test_planners_have_one_colour_in_all_figures_and_differ_without_colour(
    seen: tuple[SweepSummary, list[NamedFigure]],
) -> None:
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


def test_colour_blind_readers_can_distinguish_the_palette() -> None:
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


def test_lines_show_the_numbers_of_the_table(seen: tuple[SweepSummary, list[NamedFigure]]) -> None:
    found, drawn = seen
    figure = next(one.figure for one in drawn if one.name == "success")
    wall = figure.axes[0]
    for container in wall.containers:
        shown = container.lines[0].get_ydata()  # pyright: ignore
        rows = [row for row in found.rows if row.task == "wall" and row.planner == container.get_label()]
        assert list(shown) == [row.success.value for row in rows]
    gaps = next(one.figure for one in drawn if one.name == "differences").axes[0]
    values = [container.lines[0].get_xdata()[0] for container in gaps.containers]  # pyright: ignore
    assert values == [row.versus.success.difference for row in found.rows if row.versus]


def test_bands_are_quartiles_over_problems(seen: tuple[SweepSummary, list[NamedFigure]]) -> None:
    axis = next(one.figure for one in seen[1] if one.name == "distances").axes[0]
    assert axis.get_title() == "wall, H = 100"
    x = axis.lines[0].get_xdata()
    assert (x[0], x[-1]) == (0, 100)  # pyright: ignore
    assert axis.lines[0].get_ydata()[0] == 1.0  # pyright: ignore
    medians = [line.get_ydata()[-1] for line in axis.lines]  # pyright: ignore
    assert medians[0] <= medians[1] <= medians[2], "who solves more ends nearer"


def test_kinds_of_endings_add_up(seen: tuple[SweepSummary, list[NamedFigure]]) -> None:
    for row in seen[0].rows:
        kinds = count_endings(row.cells)
        assert sum(kinds.values()) == len(row.cells)
        assert kinds[CellEnding.SOLVED] == row.success.successes
        assert kinds[CellEnding.FAILED] == row.failed


def test_planners_over_all_settings(seen: tuple[SweepSummary, list[NamedFigure]]) -> None:
    grasp, cem, gd = seen[0].overall
    assert (grasp.conditions, grasp.nearer, grasp.verdicts) == (3, None, {})
    assert grasp.success > cem.success > gd.success
    assert sum(cem.verdicts.values()) == 3
    assert gd.verdicts[Verdict.WORSE] == 3
    assert gd.nearer is not None
    assert gd.nearer < 0.5
    for one in seen[0].overall:
        assert one.progress_interval is not None
        assert one.progress_interval[0] <= one.progress <= one.progress_interval[1]
        assert np.all(np.diff(one.profile) <= 0)
