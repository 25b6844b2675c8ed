"""Compaction: which parts of a ledger to merge, so that many appends become few files and no row is rewritten often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tiers:
    """The rule for merging: a run of neighbouring parts is merged if it is long enough and no part holds most of its rows.

    Each merge moves a row into a part at least `growth` times as large as its old one, so a row is rewritten at most
    log(`rows`) / log(`growth`) times, and a merge never takes longer than writing `rows` rows.
    """

    fan: int = 16
    """Least number of parts in a run."""
    growth: int = 4
    """A run has at least this many times the rows of its largest part."""
    rows: int = 32768
    """Most rows in a run; parts too large for any run stay as they are."""

    def run(self, row_counts: Sequence[int]) -> slice | None:
        """The first run to merge among parts with these numbers of rows, as long as possible; None if there is none."""
        small = self.rows // self.growth
        if sum(rows <= small for rows in row_counts) < self.fan:
            return None
        for start in range(len(row_counts) - self.fan + 1):
            total = largest = 0
            end = start
            while end < len(row_counts) and row_counts[end] <= small and total + row_counts[end] <= self.rows:
                total += row_counts[end]
                largest = max(largest, row_counts[end])
                end += 1
            if end - start >= self.fan and total >= self.growth * largest:
                return slice(start, end)
        return None
