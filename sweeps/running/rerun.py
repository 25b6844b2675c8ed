"""`grasp rerun`: a cell planned again from nothing but its record, in a batch of its own, and compared with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from orchestrator.core.batch import Batch
from orchestrator.core.cell import Cell
from orchestrator.core.provenance import git_revision
from orchestrator.ledger.identity import point_of
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import CellResult, from_table
from orchestrator.workers.backend import evaluated
from orchestrator.workers.evaluator import Evaluator
from planners.identity import algorithm_version
from sweeps.config.outputs import Outputs
from sweeps.console.terminal import say, show
from world_models.checkpoints import store as checkpoints
from world_models.checkpoints.formats import loader_version
from world_models.datasets.problems.drawing import RecordedSource
from world_models.errors import UserError, require
from world_models.tasks import make_task

TOLERANCE = 1e-3
"""Largest relative difference between equal distances: rounding depends on the other rows of a batch."""
FLOOR = 1e-6
"""Distances that differ by less than this are equal, in the task's unit."""


@dataclass(frozen=True)
class Agreement:
    """A recorded cell and the same cell planned again."""

    before: CellResult
    after: CellResult

    @property
    def differences(self) -> tuple[str, ...]:
        """The differences, in words; empty if the cells agree."""
        before, after, found = self.before, self.after, []
        if (before.status == "failed") != (after.status == "failed"):
            found.append(f"status {before.status}, now {after.status}")
        if before.success != after.success:
            found.append(f"success {_yes(before.success)}, now {_yes(after.success)}")
        if not _close(before.distance, after.distance):
            found.append(f"distance {_number(before.distance)}, now {_number(after.distance)}")
        return tuple(found)

    @property
    def agrees(self) -> bool:
        """Whether success is the same, and the distance within a thousandth."""
        return not self.differences


def rerun(prefix: str | None, outputs: Outputs, console: Console) -> int:
    """Plan a cell of the ledger again and compare; 0 if it agrees, 1 if it does not."""
    if prefix is None:
        raise UserError("name the cell: grasp rerun CELL_ID (or its first characters), from the ledger's column cell_id.")
    record = find(prefix, Ledger(outputs.ledger))
    found = plan_again(record)
    show(console, _table(found))
    if record.git_revision != git_revision():
        say(console, f"the record was planned by revision {record.git_revision}, this is revision {git_revision()}")
    for note in version_notes(record):
        say(console, note)
    if found.differences:
        say(console, f"cell {record.cell_id} differs: {'; '.join(found.differences)}")
        return 1
    say(console, f"cell {record.cell_id} agrees: same success, distance equal to a relative {TOLERANCE:g}")
    return 0


def find(prefix: str, ledger: Ledger) -> CellResult:
    """The record of the cell whose id begins with `prefix`; UserError if there is none or more than one."""
    known = ledger.table(columns=["cell_id", "point_id"]).to_pylist()
    found = [row for row in known if row["cell_id"].startswith(prefix)]
    where = f"{len(known)} in {ledger.root}"
    require(bool(found), f"no cell {prefix!r} among the {where}: take an id from the column cell_id, or give output=FOLDER.")
    ids = [row["cell_id"] for row in found]
    require(len(ids) == 1, f"{len(ids)} cells begin with {prefix!r}, e.g. {ids[0]} and {ids[-1]}: give more of the id.")
    records = from_table(ledger.table([found[0]["point_id"]]))
    return next(record for record in records if record.cell_id == ids[0])


def cell_of(record: CellResult) -> Cell:
    """The cell that a record describes; UserError if this version gives it a different id."""
    cell = point_of(vars(record)).cell(record.seed)
    require(
        cell.cell_id == record.cell_id,
        f"the record of cell {record.cell_id} does not lead to that cell: it was written by another version of the ledger.",
    )
    return cell


def plan_again(record: CellResult) -> Agreement:
    """Plan the record's cell again, on the same kind of device if there is one; UserError if its model has changed."""
    cell = cell_of(record)
    digest = checkpoints.read_card(record.model)[1]
    require(
        digest == record.model_digest,
        f"world model {record.model} is another one now ({digest}, the cell was planned with {record.model_digest}): "
        "restore that model, or plan the cell anew with grasp plan.",
    )
    recorded = cell.point.problems
    if recorded is not None:  # else a dataset that has moved or changed would count as another plan
        task = make_task(cell.point.task.name, **cell.point.task.as_dict())
        RecordedSource.open(task, recorded, record.horizon).problem(cell.seed)
    device = "cuda" if record.device.startswith("cuda") and torch.cuda.is_available() else "cpu"
    result = evaluated(Evaluator(device), Batch.of(cell.point, (cell.seed,)), device)
    return Agreement(record, result.results[0])


def version_notes(record: CellResult) -> list[str]:
    """One sentence for each of algorithm, task and loader whose version has changed since the record was planned."""
    point = point_of(vars(record))
    versions = {
        f"planner {record.planner}'s algorithm": (point.algorithm_version, algorithm_version(record.planner)),
        f"task {record.task}": (point.task_version, make_task(point.task.name, **point.task.as_dict()).version),
        f"the loader of {record.model}": (point.loader_version, loader_version(checkpoints.read_card(record.model)[0])),
    }
    return [
        f"the record was planned with version {before} of {what}, this is version {now}: results may differ"
        for what, (before, now) in versions.items()
        if before != now
    ]


def _table(found: Agreement) -> Table:
    before, after = found.before, found.after
    title = f"{before.task} · {before.planner} · H{before.horizon} · seed {before.seed}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("", "recorded", "again"):
        table.add_column(name)
    rows = [
        ("success", _yes(before.success), _yes(after.success)),
        ("distance", _number(before.distance), _number(after.distance)),
        ("predicted cost", _number(before.predicted_cost), _number(after.predicted_cost)),
        ("model steps", *(f"{one.evaluations or 0:,}" for one in (before, after))),
        ("status", before.status, after.status),
        ("planned with", *(f"{one.batch_size - 1} others" for one in (before, after))),
        ("on", *(f"{one.host}, {one.device}, torch {one.torch_version}" for one in (before, after))),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _close(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is after
    return math.isclose(before, after, rel_tol=TOLERANCE, abs_tol=FLOOR)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
