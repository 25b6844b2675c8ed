"""Which cells a part of a ledger holds, in a few bytes a cell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int32, Int64

from orchestrator.parts import coded, is_failed


@dataclass(frozen=True, eq=False)
class Identity:
    """The cells of a part."""

    points: tuple[str, ...]
    """Point ids that occur in it."""
    point: Int32[np.ndarray, " rows"]
    """Of each row, which of `points`."""
    seed: Int64[np.ndarray, " rows"]
    failed: Bool[np.ndarray, " rows"]

    @staticmethod
    def of(table: pa.Table) -> Identity:
        """Of a table with point_id, seed and status."""
        codes, names = coded(table["point_id"])
        return Identity(tuple(names), codes.astype(np.int32), table["seed"].to_numpy(), is_failed(table["status"]))


def joined(
    identities: Iterable[Identity], include_failed: bool
) -> tuple[list[str], Int64[np.ndarray, " rows"], Int64[np.ndarray, " rows"]]:
    """Point ids, and of all rows (without failed ones, unless they are included) which point and which seed."""
    numbers: dict[str, int] = {}
    points, seeds = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for part in identities:
        renumbered = np.array([numbers.setdefault(name, len(numbers)) for name in part.points], np.int64)
        kept = slice(None) if include_failed else ~part.failed
        points.append(renumbered[part.point[kept]])
        seeds.append(part.seed[kept])
    return list(numbers), np.concatenate(points), np.concatenate(seeds)
