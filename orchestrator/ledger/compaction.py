"""Which parts of a ledger are merged: so that many appends become few files, and no row is rewritten often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tiers:
    """A run of neighbouring parts is merged when it is long enough and none of them holds much of its rows.

    Each merge puts a row into a part at least `growth` times as large as the one it was in, so it is rewritten at most
    log(`rows`) / log(`growth`) times, and one merge never takes longer than writing `rows` rows.
    """

    fan: int = 16
    """Parts that a run has at least."""
    growth: int = 4
    """A run has at least that many times the rows of its largest part."""
    rows: int = 32768
    """Rows that a run has at most; parts too large for any run stay as they are."""

    def run(self, row_counts: Sequence[int]) -> slice | None:
        """The first run worth merging among parts of these numbers of rows, as long as may be; None: there is none."""
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
