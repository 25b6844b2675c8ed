"""Kernels and precisions that computed points, and points whose cells differ in them or in simulator versions."""

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
from world_models.precision import Arithmetic

SIMULATORS = ("pymunk", "mujoco", "gymnasium-robotics", "gym-pusht")
"""Python distributions whose versions determine a simulator's behaviour."""

COLUMNS = ("point_id", "seed", "status", "kernel", "precision", "versions")
"""Columns of the ledger that `mixtures_of` reads."""


def mark_mixed(rows: Sequence[Row], grid: Grid, table: pa.Table) -> list[Row]:
    """The rows, each with what computed it and the differences between its cells, from a ledger table with `COLUMNS`."""
    found, kernels = mixtures_of(grid, table), kernels_of(grid, table)
    ids = [row.entry.point.point_id for row in rows]
    return [replace(row, mixed=found[id_], computed=kernels[id_]) for row, id_ in zip(rows, ids, strict=True)]


def kernels_of(grid: Grid, table: pa.Table) -> Mapping[str, tuple[Arithmetic, ...]]:
    """Kernels and precisions that computed a point's cells, by point id; none where the ledger does not say."""
    order, bounds = by_point(grid, table)
    (kernels, names), (precisions, words) = _texts(table, "kernel"), _texts(table, "precision")
    pairs = (kernels * len(words) + precisions)[order]
    spans = zip(grid.entries, bounds[:-1], bounds[1:], strict=True)
    found = {entry.point.point_id: [divmod(int(pair), len(words)) for pair in np.unique(pairs[a:b])] for entry, a, b in spans}
    return {
        point_id: tuple(Arithmetic(names[kernel], words[precision]) for kernel, precision in each if names[kernel])
        for point_id, each in found.items()
    }


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
