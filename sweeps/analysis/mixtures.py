"""Points whose cells were computed with different kernels, precisions or simulator versions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from orchestrator.ledger.parts import coded, is_failed
from sweeps.analysis.point_cells import by_point
from sweeps.analysis.rows import Row
from sweeps.config.grid import Grid

SIMULATORS = ("pymunk", "mujoco", "gymnasium-robotics", "gym-pusht")
"""Python distributions whose versions determine a simulator's behaviour."""

COLUMNS = ("point_id", "seed", "status", "kernel", "precision", "versions")
"""Columns of the ledger that `mixtures_of` reads."""


def mark_mixed(rows: Sequence[Row], grid: Grid, table: pa.Table) -> list[Row]:
    """The rows, each with the differences between its cells, from a ledger table with `COLUMNS`."""
    found = mixtures_of(grid, table)
    return [replace(row, mixed=found[row.entry.point.point_id]) for row in rows]


def mixtures_of(grid: Grid, table: pa.Table) -> Mapping[str, tuple[str, ...]]:
    """Differences between a point's cells that ran, in words by point id: kernel, precision, versions of simulators."""
    order, bounds = by_point(grid, table)
    ran = ~is_failed(table["status"])[order]
    columns = [_texts(table, "kernel"), _texts(table, "precision")]
    versions, texts = _texts(table, "versions")
    columns += [(versions, [_version(text, name) for text in texts]) for name in SIMULATORS]
    names = ("kernel", "precision", *SIMULATORS)
    spans = list(zip(grid.entries, bounds[:-1], bounds[1:], strict=True))
    found: dict[str, list[str]] = {entry.point.point_id: [] for entry in grid.entries}
    for name, (codes, labels) in zip(names, columns, strict=True):
        mine = codes[order]
        for entry, a, b in spans:
            known = sorted({labels[code] for code in np.unique(mine[a:b][ran[a:b]])} - {""})
            if len(known) > 1:
                found[entry.point.point_id].append(f"{name} ({' and '.join(known)})")
    return {point_id: tuple(words) for point_id, words in found.items()}


def _texts(table: pa.Table, column: str) -> tuple[Int64[np.ndarray, " rows"], list[str]]:
    """A text column as codes, and the texts that they stand for; null becomes an empty text."""
    return coded(table[column].fill_null(""))


def _version(versions: str, name: str) -> str:
    """The version of a distribution from a JSON object of versions; empty if it is missing."""
    return str(json.loads(versions).get(name, ""))
