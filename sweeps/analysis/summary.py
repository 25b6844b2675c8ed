"""The summary of a sweep, computed once: rows, planners over all settings, missing and failed cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sweeps.analysis.aggregates import Overall, overall
from sweeps.analysis.mixtures import mark_mixed
from sweeps.analysis.point_cells import COLUMNS as CELL_COLUMNS
from sweeps.analysis.point_cells import cells_of
from sweeps.analysis.rows import Row, rows_of
from sweeps.config.grid import Grid
from sweeps.console.terminal import duration

_FACTS = ("git_revision", "torch_version", "device")
_CIRCUMSTANCES = ("kernel", "precision", "versions")
COLUMNS = (*CELL_COLUMNS, "error", *_FACTS, *_CIRCUMSTANCES)
"""Columns of the ledger that `summary_of` reads."""

Facts = Sequence[tuple[str, str]]
"""Pairs of a fact's name and its value."""


@dataclass(frozen=True, eq=False)
class SweepSummary:
    """A sweep with its results in the ledger."""

    grid: Grid
    table: pa.Table
    facts: Facts
    rows: Sequence[Row]
    overall: Sequence[Overall]

    @property
    def title(self) -> str:
        """Title of figures and tables."""
        return f"sweep {self.grid.name}"

    @property
    def errors(self) -> list[tuple[str, int]]:
        """Errors of failed cells and how often each occurred, the most frequent first."""
        counts = self.table["error"].drop_null().value_counts().to_pylist()
        return sorted(((entry["values"], entry["counts"]) for entry in counts), key=lambda pair: (-pair[1], pair[0]))

    @property
    def missing(self) -> int:
        """Cells of the grid that the ledger does not have."""
        return sum(row.missing for row in self.rows)

    @property
    def failed(self) -> int:
        """Cells without a result."""
        return sum(row.failed for row in self.rows)


def summary_of(grid: Grid, table: pa.Table) -> SweepSummary:
    """The summary of a grid, from a ledger table with `COLUMNS`."""
    cells = cells_of(grid, table)
    rows = mark_mixed(rows_of(grid, cells), grid, table)
    facts = _facts(grid, table, rows)
    # In a large sweep, the texts that all cells share make up most of the table.
    return SweepSummary(grid, table.drop_columns([*_FACTS, *_CIRCUMSTANCES]), facts, rows, overall(rows))


def _facts(grid: Grid, table: pa.Table, rows: Sequence[Row]) -> Facts:
    """Facts about the sweep: number of cells, planning time, models, code, devices and kernels."""
    cells = {row.entry.point.point_id: row.cells for row in rows}
    seconds = float(sum(np.nansum(each.seconds) for each in cells.values()))
    kernels = {f"{each.kernel} ({each.precision})" for row in rows for each in row.computed}
    models = {f"{entry.point.model} {entry.point.model_digest[:8]}" for entry in grid.entries}
    revisions, versions, devices = (sorted(filter(None, table[column].unique().to_pylist())) for column in _FACTS)
    return [
        ("cells", f"{sum(map(len, cells.values()))} of {len(grid.entries) * len(grid.seeds)}"),
        ("planning", duration(seconds)),
        ("world models", _several(sorted(models))),
        ("code", _several(revision[:12] for revision in revisions)),
        ("torch", _several(versions)),
        ("device", _several(devices)),
        ("kernel", _several(sorted(kernels))),
    ]


def _several(values: Iterable[str]) -> str:
    """The first few values, and how many more there are."""
    found = list(values)
    return (", ".join(found[:3]) or "-") + (f" and {len(found) - 3} more" if len(found) > 3 else "")
