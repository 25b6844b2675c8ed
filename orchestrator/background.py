"""Tracking beside planning: a thread that never lets a tracking failure reach the sweep."""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa

from orchestrator.cells import Cell
from orchestrator.ledger import Ledger
from orchestrator.outcomes import BatchResult, one_line
from orchestrator.sweep_info import SweepInfo

_log = logging.getLogger(__name__)


@runtime_checkable
class Synchroniser(Protocol):
    """What the thread drives: `Tracker`."""

    def warm(self) -> None:
        """Open the store."""
        ...

    def sync(
        self, sweep: SweepInfo, table: pa.Table, artifacts: Path, figures: Sequence[Path] = (), final: bool = True
    ) -> bool:
        """Write what the store lacks."""
        ...


class BackgroundTracker:
    """Tracks a sweep in a thread: opens MLflow beside the first planning, then writes each point once it is complete."""

    def __init__(
        self, tracker: Synchroniser, sweep: SweepInfo, ledger: Ledger, cells: Collection[Cell], artifacts: Path
    ) -> None:
        self._tracker = tracker
        self._sweep = sweep
        self._ledger = ledger
        self._cells = list(cells)
        self._artifacts = artifacts
        self._of_point: dict[str, list[str]] = {}
        self._lacking: Counter[str] = Counter()
        self._done: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._started = False

    def start(self) -> None:
        """Warm MLflow beside the first planning; then track points as they finish."""
        recorded = self._ledger.finished()
        for cell in self._cells:
            point_id, cell_id = cell.point.point_id, cell.cell_id
            self._of_point.setdefault(point_id, []).append(cell_id)
            self._lacking[point_id] += cell_id not in recorded
        self._started = True
        self._thread.start()

    def on_result(self, result: BatchResult) -> None:
        """Tell of a recorded batch; returns at once."""
        for record in result.results:
            self._lacking[record.point_id] -= 1
            if self._lacking[record.point_id] == 0:
                self._done.put(record.point_id)

    def finish(self, sweep: SweepInfo | None = None, figures: Sequence[Path] = ()) -> str | None:
        """Track everything, end the thread; None, or one sentence on what failed and how to replay it.

        `sweep` replaces the description (its headline is known at the end only).
        """
        if self._started:
            self._done.put(None)
            self._thread.join()
        try:
            table = self._ledger.table([cell.cell_id for cell in self._cells])
            self._tracker.sync(sweep or self._sweep, table, self._artifacts, figures)
        # Whatever tracking raises, the sweep has ended well.
        except Exception as error:
            _log.warning("tracking failed", exc_info=True)
            return one_line(error).removeprefix("TrackingError: ")
        return None

    def _work(self) -> None:
        """The thread: on the first failure it stops; `finish` tries once more and reports."""
        try:
            self._tracker.warm()
            ended = False
            while not ended:
                finished = [self._done.get()]
                while not self._done.empty():
                    finished.append(self._done.get())
                ended = None in finished
                # What finish() asks for it also writes: no need to do it twice.
                if not ended:
                    wanted = [cell_id for point in finished if point is not None for cell_id in self._of_point[point]]
                    self._tracker.sync(self._sweep, self._ledger.table(wanted), self._artifacts, final=False)
        except Exception:
            _log.warning("tracking beside the sweep failed; trying again at its end", exc_info=True)
