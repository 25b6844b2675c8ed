"""Digests of a point's cells, which tell whether its run is up to date."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def point_digests(table: pa.Table) -> dict[str, str]:
    """Digests of each point's cells, by point id: which seeds, when each was finished (a rerun counts as another)."""
    if table.num_rows == 0:
        return {}
    cells = table.select(["point_id", "seed", "finished_at"])
    ordered = cells.sort_by([("point_id", "ascending"), ("seed", "ascending")])
    numbers = np.stack([ordered["seed"].to_numpy(), microseconds(ordered)], axis=1)
    points = ordered["point_id"].combine_chunks().dictionary_encode()
    starts = np.flatnonzero(np.diff(points.indices.to_numpy(), prepend=-1))
    slices = np.split(numbers, starts[1:])
    names = points.dictionary.to_pylist()
    return {name: cells_digest(part) for name, part in zip(names, slices, strict=True)}


def cells_digest(finished: np.ndarray) -> str:
    """A digest of rows, one per seed, of a point's seeds and the times (microseconds) when they were finished."""
    return hashlib.sha256(np.ascontiguousarray(finished).tobytes()).hexdigest()[:16]


def microseconds(table: pa.Table) -> np.ndarray:
    """When each cell was finished, in microseconds since the epoch."""
    return pc.cast(table["finished_at"], pa.int64()).to_numpy()
