"""Observers of a run of sweeps."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.portion import Portion
from orchestrator.evaluation.results import BatchResult
from orchestrator.scheduling.scheduler import Scheduler
from sweeps.config.grid import Grid


class RunObserver:
    """Notified of a run's progress in the driver's thread; each method does nothing unless a subclass overrides it."""

    def on_start(self, scheduler: Scheduler, missing: Sequence[Portion]) -> None:
        """Called when the ledger is ours and `missing` is about to be planned."""

    def on_join(self, grid: Grid, fresh: Sequence[Portion]) -> None:
        """Called when another sweep joins, which adds `fresh`."""

    def on_result(self, result: BatchResult) -> None:
        """Called when a batch is in the ledger."""
