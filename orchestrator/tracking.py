"""The only writer to MLflow, and the only file that imports it (late: it takes seconds)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from orchestrator.cells import Cell
from orchestrator.evaluate import BatchResult
from orchestrator.ledger import Ledger


@dataclass(frozen=True)
class SweepInfo:
    """What the parent run says about a sweep."""

    name: str
    config_text: str
    """The composed configuration, as YAML."""
    command: str
    description: str
    """Markdown."""


def mask_uri(uri: str) -> str:
    """The URI without user and password."""
    raise NotImplementedError


class Tracker:
    """Writes a sweep's ledger to MLflow; running it again adds nothing twice."""

    def __init__(self, uri: str, artifact_root: Path, experiment: str = "grasp", markers: Path | None = None) -> None:
        self.uri = uri
        self.artifact_root = artifact_root
        self.experiment = experiment
        self.markers = markers

    def warm(self) -> None:
        """Import mlflow and initialise the store (10 s)."""
        raise NotImplementedError

    def sync(
        self, sweep: SweepInfo, table: pa.Table, artifacts: Path, figures: Sequence[Path] = (), final: bool = True
    ) -> bool:
        """Write what the store lacks of `table`; False when the marker says that it has everything.

        `figures` are logged on the parent. `final` ends the parent run.
        """
        raise NotImplementedError


class BackgroundTracker:
    """Tracks a sweep in a thread; a tracking failure never reaches the sweep."""

    def __init__(self, tracker: Tracker, sweep: SweepInfo, ledger: Ledger, cells: Collection[Cell], artifacts: Path) -> None:
        self._tracker = tracker

    def start(self) -> None:
        """Warm MLflow beside the first planning; then track points as they finish."""
        raise NotImplementedError

    def on_result(self, result: BatchResult) -> None:
        """Tell of a recorded batch; returns at once."""
        raise NotImplementedError

    def finish(self, sweep: SweepInfo | None = None, figures: Sequence[Path] = ()) -> str | None:
        """Track everything, end the thread; None, or one sentence on what failed and how to replay it.

        `sweep` replaces the description (its headline is known at the end only).
        """
        raise NotImplementedError
