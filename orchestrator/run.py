"""Running a sweep is running what the ledger lacks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from orchestrator.backend import Backend
from orchestrator.cells import Cell, Point
from orchestrator.evaluate import BatchResult
from orchestrator.ledger import Ledger


@dataclass(frozen=True)
class RunSummary:
    """What a run did."""

    computed: int
    """Cells recorded by this run, failed ones included."""
    skipped: int
    """Cells that were in the ledger already."""
    failed: int
    """Cells among `computed` that failed."""
    seconds: float


def run_cells(
    cells: Collection[Cell],
    ledger: Ledger,
    backend: Backend,
    max_rows: int = 64,
    on_result: Callable[[BatchResult], None] | None = None,
    *,
    artifacts: Path | None = None,
    cost: Callable[[Point], float] | None = None,
    retry_failed: bool = False,
    config_digest: str = "",
) -> RunSummary:
    """Plan the cells that the ledger lacks; each batch is durable before `on_result` sees it.

    `artifacts` is the folder that gets `<point_id>/<seed>.gif|.png`. The backend is not touched when nothing is missing.
    """
    raise NotImplementedError
