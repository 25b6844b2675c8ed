"""The cells of a part, which are small enough to be kept: which points it has, and which seeds of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int32, Int64

from orchestrator.ledger.parts import coded, is_failed


@dataclass(frozen=True, eq=False)
class Identity:
    """The cells of a part."""

    points: tuple[str, ...]
    """Point ids that occur in the part."""
    point: Int32[np.ndarray, " rows"]
    """Index into `points` of each row."""
    seed: Int64[np.ndarray, " rows"]
    failed: Bool[np.ndarray, " rows"]

    @staticmethod
    def of(table: pa.Table) -> Identity:
        """The cells of a table with point_id, seed and status."""
        codes, names = coded(table["point_id"])
        return Identity(tuple(names), codes.astype(np.int32), table["seed"].to_numpy(), is_failed(table["status"]))


def joined(
    identities: Iterable[Identity], include_failed: bool
) -> tuple[list[str], Int64[np.ndarray, " rows"], Int64[np.ndarray, " rows"]]:
    """Point ids, and the point index and seed of all rows, without failed ones unless included."""
    numbers: dict[str, int] = {}
    points, seeds = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for part in identities:
        renumbered = np.array([numbers.setdefault(name, len(numbers)) for name in part.points], np.int64)
        kept = slice(None) if include_failed else ~part.failed
        points.append(renumbered[part.point[kept]])
        seeds.append(part.seed[kept])
    return list(numbers), np.concatenate(points), np.concatenate(seeds)
