"""Made-up sweeps to review: what every planner did on every problem is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from orchestrator.core.cell import Named, Point
from orchestrator.evaluation.curves import COST_SAMPLES, distance_times
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import CellResult
from orchestrator.testing import quick_result
from sweeps.analysis.point_cells import records_of
from sweeps.analysis.summary import COLUMNS, SweepSummary, summary_of
from sweeps.config.grid import Entry, Grid
from sweeps.config.outputs import Outputs
from sweeps.reports.figure_courses import COLUMNS as CURVE_COLUMNS
from sweeps.reports.figures import NamedFigure, figures

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
        rank = PLANNERS.index(entry.planner) if entry.planner in PLANNERS else i % len(PLANNERS)
        random, skill = np.random.default_rng(i), chance - 0.25 * rank
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


def reviewed(folder: Path) -> tuple[SweepSummary, list[NamedFigure]]:
    """The summary of a sweep of 40 seeds, and its figures."""
    grid = grid_of(40)
    _, ledger = written(grid, folder, results(grid))
    found = summary_of(grid, records_of(grid, ledger, COLUMNS))
    return found, list(figures(found, records_of(grid, ledger, CURVE_COLUMNS)))


def words(figure: Figure) -> str:
    """All text of a figure and its axes."""
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))
