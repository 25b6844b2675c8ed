"""`grasp compare`: two sweeps of different code, models or settings, on the seeds that both have planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from orchestrator.core.cell import canonical
from orchestrator.ledger.ledger import Ledger
from sweeps.analysis.comparison import LEVEL, Comparison, Verdict, adjust, compare_cells
from sweeps.analysis.intervals import Rate
from sweeps.analysis.point_cells import COLUMNS as CELL_COLUMNS
from sweeps.analysis.point_cells import PointCells, cells_of, records_of
from sweeps.config.grid import Entry, Grid
from sweeps.config.outputs import Outputs
from sweeps.console.terminal import say, show
from sweeps.reports.notes import model_notes
from world_models.errors import UserError, require

COLUMNS = (*CELL_COLUMNS, "git_revision", "finished_at")
"""Columns that are read from the ledger."""

SHARED = "same records"
"""The verdict on a point whose cells both sweeps have from the same run."""

PointKey = tuple[str, ...]
"""Key of a point in both sweeps: labels of task and planner, the horizon, the list of recorded problems if they are, and the
model's name where a sweep has several."""


@dataclass(frozen=True)
class Side:
    """One of the two sweeps, as far as it has been planned."""

    name: str
    grid: Grid
    table: pa.Table

    def points_by_key(self, with_model: bool) -> dict[PointKey, Entry]:
        """The sweep's points by key; keys that several points share are left out."""
        keyed = [(_key_of(entry, with_model), entry) for entry in self.grid.entries]
        counts = Counter(key for key, _ in keyed)
        return {key: entry for key, entry in keyed if counts[key] == 1}

    def cells(self) -> Mapping[str, PointCells]:
        """Cells by point id."""
        return cells_of(self.grid, self.table)

    def records(self) -> frozenset[tuple[str, int, object]]:
        """Point, seed and time of each cell that did not fail: two sweeps that share one share its record."""
        columns = (self.table[name].to_pylist() for name in ("point_id", "seed", "finished_at", "status"))
        return frozenset(row[:3] for row in zip(*columns, strict=True) if row[3] != "failed")

    def facts(self) -> str:
        """The revisions and world models of the sweep's cells, as text."""
        revisions = sorted(set(self.table["git_revision"].to_pylist()))
        models = sorted({f"{entry.point.model} {entry.point.model_digest[:8]}" for entry in self.grid.entries})
        return f"revision {', '.join(revision[:12] for revision in revisions) or '-'}, world model {', '.join(models)}"


@dataclass(frozen=True)
class ComparisonRow:
    """A point of both sweeps, on common seeds."""

    entry: Entry
    """The point in the second sweep."""
    first: Rate
    second: Rate
    versus: Comparison
    """The second sweep compared with the first."""
    shared: int
    """Cells that are the same records in both."""

    @property
    def is_shared(self) -> bool:
        """Whether nothing is compared but records with themselves."""
        return self.shared == self.versus.success.pairs


def side(word: str, outputs: Outputs) -> Side:
    """The sweep that a word names: NAME, or NAME@FOLDER in another output folder; UserError if there is no such sweep."""
    name, at, folder = word.partition("@")
    if at:
        outputs = Outputs(Path(folder))
    grid = outputs.load(name)
    ledger = Ledger(outputs.of_sweep(grid.name).ledger)
    return Side(f"{name}@{Path(folder).name}" if at else name, grid, records_of(grid, ledger, COLUMNS))


def comparison_rows(first: Side, second: Side) -> list[ComparisonRow]:
    """All points that both have, in the second's order; UserError if they have no point, or no seed, in common."""
    for with_model in (True, False):
        mine, theirs = first.points_by_key(with_model), second.points_by_key(with_model)
        common = [key for key in theirs if key in mine]
        if common:
            break
    else:
        raise UserError(
            f"sweeps {first.name} and {second.name} have no task, planner, horizon and list of problems in common: "
            f"{first.name} has {_examples(first)}, {second.name} has {_examples(second)}."
        )
    cells, others = first.cells(), second.cells()
    shared = Counter(record[0] for record in first.records() & second.records())
    found = [
        _comparison_row(theirs[key], cells[mine[key].point.point_id], others[theirs[key].point.point_id], shared)
        for key in common
    ]
    found = [one for one in found if one.versus.success.pairs]
    seeds = [f"{side.name} has {_span(side.grid.seeds)}" for side in (first, second)]
    require(bool(found), f"sweeps {first.name} and {second.name} have no planned seed in common: {', '.join(seeds)}.")
    return [replace(one, versus=versus) for one, versus in zip(found, adjust([one.versus for one in found]), strict=True)]


def compare(first: str, second: str, outputs: Outputs, console: Console) -> int:
    """Print how two sweeps differ; the exit code."""
    sides = side(first, outputs), side(second, outputs)
    rows = comparison_rows(*sides)
    shared, pairs = sum(row.shared for row in rows), sum(row.versus.success.pairs for row in rows)
    if shared == pairs:
        which = "" if {one.table.num_rows for one in sides} == {pairs} else " that both have"
        say(console, f"{sides[0].name} and {sides[1].name}: all {pairs} cells{which} are the same records")
        return 0
    show(console, _table(rows, *sides))
    for one in sides:
        say(console, f"{one.name}: {one.facts()}")
    counts = Counter(_verdict(row, *sides) for row in rows)
    words = [f"{counts[text]} {text}" for text in (*_verdicts(*sides).values(), SHARED) if counts[text]]
    say(console, f"of {len(rows)} comparisons: {', '.join(words)}")
    if shared:
        say(console, f"{shared} of {pairs} cells are the same records in both")
    return 0


def _comparison_row(entry: Entry, first: PointCells, second: PointCells, shared: Mapping[str, int]) -> ComparisonRow:
    a, b = first.done, second.done
    common, in_a, in_b = np.intersect1d(a.seed, b.seed, assume_unique=True, return_indices=True)
    first_rate, second_rate = (Rate(int(cells.success[rows].sum()), len(common)) for cells, rows in ((a, in_a), (b, in_b)))
    return ComparisonRow(entry, first_rate, second_rate, compare_cells(second, first), shared[entry.point.point_id])


def _table(rows: list[ComparisonRow], first: Side, second: Side) -> Table:
    caption = (
        f"on common seeds; difference: success of {second.name} minus that of {first.name}, with a 95 % interval; nearer: "
        f"share of problems on which {second.name} ends nearer to the goal, ties as half; q: McNemar's exact p-value, adjusted "
        f"for all {len(rows)} comparisons (Benjamini and Hochberg); unclear: q above {LEVEL}."
    )
    caption = "\n".join([caption, *model_notes(row.entry for row in rows)])
    title = f"{first.name} and {second.name}"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left", pad_edge=False, box=SIMPLE_HEAD)
    table.add_column("task", no_wrap=True)
    table.add_column("H", justify="right")
    table.add_column("planner", no_wrap=True)
    for name in ("n", first.name, second.name):
        table.add_column(name, justify="right")
    for name in ("difference [95 %]", "nearer [95 %]", "q", "verdict"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        low, high = row.versus.success.interval
        table.add_row(
            row.entry.task,
            str(row.entry.point.horizon),
            row.entry.planner,
            str(row.versus.success.pairs),
            f"{row.first.value:.2f}",
            f"{row.second.value:.2f}",
            f"{row.versus.success.difference:+.2f} [{low:+.2f}, {high:+.2f}]",
            _nearer(row.versus),
            f"{row.versus.q_value:.2g}",
            _verdict(row, first, second),
        )
    return table


def _nearer(versus: Comparison) -> str:
    won, of = versus.nearer
    if not of:
        return "-"
    low, high = versus.nearer_interval
    return f"{won / of:.2f} [{low:.2f}, {high:.2f}]"


def _verdict(row: ComparisonRow, first: Side, second: Side) -> str:
    return SHARED if row.is_shared else _verdicts(first, second)[row.versus.verdict]


def _verdicts(first: Side, second: Side) -> dict[Verdict, str]:
    return {
        Verdict.WORSE: f"{first.name} better",
        Verdict.BETTER: f"{second.name} better",
        Verdict.UNCLEAR: Verdict.UNCLEAR.value,
    }


def _key_of(entry: Entry, with_model: bool) -> PointKey:
    problems = entry.point.problems
    rows = () if problems is None else (canonical(problems.identity(entry.point.horizon)),)
    key = entry.task, str(entry.point.horizon), entry.planner, *rows
    return (*key, entry.point.model) if with_model else key


def _examples(side: Side) -> str:
    points = [f"{entry.task} {entry.planner} H{entry.point.horizon}" for entry in side.grid.entries]
    return ", ".join(points[:3]) + (f" and {len(points) - 3} more" if len(points) > 3 else "")


def _span(seeds: tuple[int, ...]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {min(seeds)} to {max(seeds)}"
