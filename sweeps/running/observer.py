"""Those who are told how a run of sweeps goes."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.portion import Portion
from orchestrator.evaluation.results import BatchResult
from orchestrator.scheduling.scheduler import Scheduler
from sweeps.config.grid import Grid


class RunObserver:
    """Is told how a run goes, from the driver's thread; each method does nothing unless a subclass says otherwise."""

    def on_start(self, scheduler: Scheduler, missing: Sequence[Portion]) -> None:
        """The ledger is ours, and `missing` is about to be planned."""

    def on_join(self, grid: Grid, fresh: Sequence[Portion]) -> None:
        """A further sweep is planned, which adds `fresh`."""

    def on_result(self, result: BatchResult) -> None:
        """A batch is in the ledger."""
