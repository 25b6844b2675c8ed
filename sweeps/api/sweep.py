"""Sweeps from Python: `sweep(...)` plans one, `load_sweep(...)` finds one again, and a `Sweep` holds the results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import pandas as pd

from orchestrator.ledger.ledger import Ledger
from sweeps.api.arguments import call_text, console_and_view, override_words
from sweeps.api.frames import cells_frame, comparison_frame, points_frame, rows_against
from sweeps.config.grid import Grid
from sweeps.config.jobs import read_jobs
from sweeps.config.outputs import Outputs, outputs_of
from sweeps.console.signals import STOPPED
from sweeps.reports.tables import fields_of
from sweeps.running.rerun import Agreement, find, plan_again
from sweeps.running.sweep import SweepOptions, redo_of, run_sweeps
from world_models.errors import UserError, require


def sweep(
    *words: str,
    output: str | PathLike[str] | None = None,
    quiet: bool = False,
    retry_failed: bool = False,
    replan: bool = False,
    conf: str | PathLike[str] | None = None,
    **keys: object,
) -> Sweep:
    """Plan the cells of a grid that the ledger lacks, and return the sweep.

    `words` are overrides as the command line takes them, `keys` the same as keywords: `"seeds=4"` is `seeds=4`. Progress and
    the table are printed as by `grasp sweep`, unless `quiet`. `output` is the folder of everything that is written (default:
    `outputs`), `conf` a folder with configs of your own; `retry_failed` plans cells again that failed before,
    `replan` all of them, and the new records take the old ones' place.

    Raises UserError, in one sentence, for invalid input. The first Ctrl-C (or a notebook's stop button) lets the
    cells in flight finish, a second stops at once; both end in KeyboardInterrupt, finished cells are in the ledger, and the
    same call goes on.

    >>> import grasp_orchestrator as grasp
    >>> small = ["planners.gd.settings.iterations=20", "planners.cem.settings.iterations=2", "tracking.enabled=false"]
    >>> found = grasp.sweep("sweep=smoke", *small, planner="gd,cem", output="outputs", quiet=True)
    >>> found
    sweep smoke: 2 points x 2 seeds, 4 of 4 cells
    """
    overrides = override_words(words, {**keys, "output": None if output is None else Path(output)})
    jobs = read_jobs(overrides, None if conf is None else Path(conf))
    names = " and ".join(job.grid.name for job in jobs)
    require(len(jobs) == 1, f"grasp.sweep plans one sweep, but {names} are {len(jobs)}: call it once per sweep.")
    console, view = console_and_view(quiet)
    options = SweepOptions(redo=redo_of(retry_failed, replan, None), view=view)
    if run_sweeps(jobs, overrides, console, options, call_text("sweep", overrides)) in STOPPED:
        raise KeyboardInterrupt
    return Sweep(jobs[0].grid, jobs[0].outputs)


def load_sweep(name: str | None = None, output: str | PathLike[str] = "outputs") -> Sweep:
    """A sweep that was run before, by its name (default: the latest), from the folder that it was run with.

    Raises UserError, with the nearest names, if there is none.

    >>> grasp.load_sweep("smoke", output="outputs")
    sweep smoke: 2 points x 2 seeds, 4 of 4 cells
    """
    outputs = outputs_of(override_words((), {"output": Path(output)}))
    grid = outputs.load(name)
    return Sweep(grid, outputs.of_sweep(grid.name))


@dataclass(frozen=True, repr=False)
class Sweep:
    """A sweep and its results in the ledger; every method reads the ledger again."""

    grid: Grid
    outputs: Outputs

    @property
    def name(self) -> str:
        """Name of the sweep, which `load_sweep` takes."""
        return self.grid.name

    @property
    def folder(self) -> Path:
        """Folder of report.html, report.csv and the figures.

        >>> found.folder.as_posix()
        'outputs/sweeps/smoke'
        """
        return self.outputs.sweep(self.name)

    @property
    def _ledger(self) -> Ledger:
        return Ledger(self.outputs.ledger)

    def cells(self, lists: bool = False) -> pd.DataFrame:
        """A frame with one row per recorded cell.

        `task` and `planner` are the labels of the configs, so that two configs of one planner stay apart; `unit` is the unit
        of `distance`, and `attrs["units"]` has those of the other columns. `lists` adds the columns with many numbers per
        cell: actions, costs and distances.

        >>> cells = found.cells()
        >>> cells.groupby("planner")["success"].count().to_dict()
        {'cem': 2, 'gd': 2}
        """
        return cells_frame(self.grid, self._ledger, lists)

    def table(self) -> pd.DataFrame:
        """A frame with one row per point: success with its 95 % interval, n, median distance, seconds, as in report.csv.

        >>> found.table()[["task", "horizon", "planner", "n", "distance_unit"]].to_dict("records")[0]
        {'task': 'wall', 'horizon': 10, 'planner': 'gd', 'n': 2, 'distance_unit': 'px'}
        """
        return points_frame(rows_against(self.grid, self._ledger))

    def compare(self, planner: str) -> pd.DataFrame:
        """Paired differences in success against a planner of the sweep, on common seeds, with 95 % intervals.

        `planner` is a label; UserError, with the nearest ones, for an unknown label. `verdict` is `better`, `worse` or
        `unclear`: the first two only if McNemar's exact test is significant, adjusted for all rows of the frame (`q_value`).

        >>> found.compare("gd")[["planner", "reference", "pairs", "verdict"]].to_dict("records")
        [{'planner': 'cem', 'reference': 'gd', 'pairs': 2, 'verdict': 'unclear'}]
        """
        return comparison_frame(rows_against(self.grid, self._ledger, planner))

    def rerun(self, cell: str | pd.Series) -> Agreement:
        """Plan a recorded cell again, alone in its batch, and compare; nothing is written.

        `cell` is a row of `cells()`, or a cell's id or its first characters. Raises UserError for a cell that the sweep does
        not have, and if its world model has changed.

        >>> found.rerun(cells.iloc[0]).agrees
        True
        """
        cell_id = cell if isinstance(cell, str) else cell.get("cell_id")
        require(isinstance(cell_id, str), "the row has no cell_id: give a row of cells(), or a cell's id.")
        record = find(str(cell_id), self._ledger)
        points = {entry.point.point_id for entry in self.grid.entries}
        if record.point_id not in points or record.seed not in self.grid.seeds:
            raise UserError(f"cell {record.cell_id} is not one of sweep {self.name}: take an id from the column cell_id.")
        return plan_again(record)

    def __repr__(self) -> str:
        rows = rows_against(self.grid, self._ledger)
        cells = len(self.grid.entries) * len(self.grid.seeds)
        there = cells - sum(row.missing for row in rows)
        size = f"{len(self.grid.entries)} points x {len(self.grid.seeds)} seeds"
        return f"sweep {self.name}: {size}, {there} of {cells} cells"

    def _repr_html_(self) -> str:
        """The printed table's cells, for notebooks."""
        fields: list[Mapping[str, str]] = [fields_of(row) for row in rows_against(self.grid, self._ledger)]
        return f"<p>{self!r}</p>{pd.DataFrame(fields).to_html(index=False)}"
