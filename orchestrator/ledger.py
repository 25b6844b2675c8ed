"""The ledger: the durable record of finished cells, append-only Parquet parts in one folder."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from orchestrator.records import CellResult


class Ledger:
    """Reading needs no lock and works while a sweep writes; writing happens inside `with ledger.writer():`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def writer(self) -> Iterator[None]:
        """Hold the single-writer lock; UserError naming the holder's host and pid when another driver has it."""
        raise NotImplementedError
        yield

    def append(self, results: Iterable[CellResult]) -> None:
        """One durable part of all `results`, or nothing."""
        raise NotImplementedError

    def finished(self, cell_ids: Iterable[str] | None = None, include_failed: bool = True) -> set[str]:
        """Ids of recorded cells (of those asked for); without failed ones if they are to be run again."""
        raise NotImplementedError

    def table(self, cell_ids: Collection[str] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Records, each cell at most once: its first record that did not fail, else its latest."""
        raise NotImplementedError
