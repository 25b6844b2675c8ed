"""`grasp plan`: one cell planned in this process, with a picture, an animation and its trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.artifacts.drawing import Artifact, Drawing, RenderJob, attempt_drawing
from orchestrator.artifacts.selection import SelectedCell
from orchestrator.core.batch import Batch
from orchestrator.core.cell import Named, Point
from orchestrator.core.modes import ExecutionMode
from orchestrator.core.success import FINAL
from orchestrator.ledger.records import CellResult
from orchestrator.workers.backend import evaluated
from orchestrator.workers.evaluator import Evaluator
from planners import full_settings
from sweeps.config.grid import Entry, Grid
from sweeps.config.jobs import Job, read_job
from sweeps.config.schema.configs import PlanConfig
from sweeps.console.terminal import say, show
from sweeps.reports.notes import class_handling
from world_models.errors import require
from world_models.files.names import inside
from world_models.files.writing import write_file
from world_models.history import REPEAT

FRAMES = 50
"""Frames of the animation: a single one may cost more than those of a sweep."""


@dataclass(frozen=True)
class PlannedCell:
    """One planned cell, with its result and its files."""

    entry: Entry
    seed: int
    result: CellResult
    artifacts: tuple[Artifact, ...] = ()
    """Picture, animation and trajectory; none if the cell failed."""
    troubles: tuple[str, ...] = ()
    """One sentence for each file that could not be made."""


def plan(overrides: Sequence[str], console: Console, conf: Path | None = None) -> int:
    """Plan one cell, execute it, print the result and save its pictures; 1 if planning failed, else 0."""
    job = read_plan(overrides, conf)
    job.outputs.prepare()
    entry, seed = job.grid.entries[0], job.grid.seeds[0]
    what = f"planning {entry.task} with {entry.planner}, horizon {entry.point.horizon}, seed {seed}"
    with console.status(Text(what)):
        cell = plan_cell(job)
    if cell.result.status == "failed":
        say(console, f"planning failed: {cell.result.error}")
        return 1
    show(console, _table(job.grid, entry, cell.result))
    label = entry.planner.replace(" ", "-").replace(":", "-")
    for artifact in cell.artifacts:
        file = inside(job.outputs.plans, f"{entry.task}-{label}-H{entry.point.horizon}-seed{seed}.{artifact.kind}")
        write_file(file, artifact.data)
        say(console, f"saved {file}")
    for trouble in cell.troubles:
        say(console, f"not drawn: {trouble}")
    return 0


def read_plan(overrides: Sequence[str], conf: Path | None) -> Job[PlanConfig]:
    """The job with the single cell that the overrides make; UserError if they make several."""
    job = read_job(PlanConfig, overrides, conf)
    grid = job.grid
    if job.config.horizons is None:
        longest = max(entry.point.horizon for entry in grid.entries)
        grid = replace(grid, entries=tuple(entry for entry in grid.entries if entry.point.horizon == longest))
    count = len(grid.cells())
    require(
        count == 1, f"these overrides make {count} cells but `grasp plan` takes one: use `grasp sweep`, or give one of each."
    )
    return replace(job, grid=grid)


def plan_cell(job: Job[PlanConfig]) -> PlannedCell:
    """Plan a job's only cell in this process, execute the plan in the simulator, and draw it."""
    entry, seed = job.grid.entries[0], job.grid.seeds[0]
    device = job.config.device
    evaluator = Evaluator(device)
    result = evaluated(evaluator, Batch.of(entry.point, (seed,)), device).results[0]
    if result.status == "failed":
        return PlannedCell(entry, seed, result)
    drawing = Drawing(
        entry.point,
        (SelectedCell(seed, ()),),
        (RenderJob(seed, result.actions),),
        job.config.artifacts.video,
        frames=FRAMES,
        name=entry.name,
    )
    drawn = attempt_drawing(evaluator, drawing)
    return PlannedCell(entry, seed, result, drawn.artifacts, drawn.troubles)


def _table(grid: Grid, entry: Entry, result: CellResult) -> Table:
    point = entry.point
    table = Table(show_header=False, box=None, pad_edge=False)
    lasts = result.success and result.steps_to_success is not None
    steps = f", from step {result.steps_to_success} on" if lasts else ""
    rows = (
        ("task", f"{entry.task} ({result.problem_kind}), seed {grid.seeds[0]}, horizon {point.horizon} environment steps"),
        ("world model", f"{point.model} ({point.model_digest})"),
        ("planner", f"{entry.planner}: {_words(point.planner)}"),
        *((("actions", f"{entry.classes} classes, {class_handling(point.planner.name)}"),) if entry.classes else ()),
        *((("in the simulator", f"{_verdict(result.success)}{steps}"),) if result.judged is None else ()),
        (
            "distance",
            f"{_number(result.start_distance)} {entry.unit} at the start, {_number(result.distance)} {entry.unit} at the end",
        ),
        (
            "in the model" if result.judged is None else "in the model, as there is no simulator",
            _prediction(result, entry.unit),
        ),
        ("predicted cost", f"{_number(result.predicted_cost)} (last iterate {_number(result.last_cost)})"),
        ("execution", _mode(point)),
        ("resources", f"{_number(result.plan_seconds)} s, {result.evaluations or 0:,} model steps on {result.device}"),
        ("status", result.status),
    )
    for name, value in rows:
        table.add_row(name, value)
    return table


def _words(planner: Named) -> str:
    """The settings that differ from the defaults, in words."""
    defaults = full_settings(planner.name)
    changed = ", ".join(f"{key} {value}" for key, value in planner.settings if value != defaults[key])
    return f"{changed}, else defaults" if changed else "defaults"


def _prediction(result: CellResult, unit: str) -> str:
    if result.model_success is None:
        return "unknown: the model's states cannot be decoded"
    return f"{_verdict(result.model_success)}, distance {_number(result.model_distance)} {unit}"


def _verdict(success: bool) -> str:
    return "success" if success else "no success"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _mode(point: Point) -> str:
    mode = ExecutionMode.of(point.mode)
    words = "open loop" if mode.every is None else f"MPC, planned anew after every {mode.every} environment steps"
    words += f", {mode.ahead} of them ahead" if mode.ahead else ""
    words += f", history {point.history}" if point.history != REPEAT else ""
    words += f", success {point.success}" if point.success != FINAL else ""
    words += f", goal cost {point.goal_cost}" if point.goal_cost else ""
    words += f", disagreement {point.disagreement:g}" if point.disagreement else ""
    return words + (f", noise {point.noise_seed}" if point.noise_seed is not None else "")
