"""A driver's status for other processes: one small file, rewritten about once a second."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from orchestrator.core.process import ProcessIdentity
from orchestrator.storage.locks import Holder
from orchestrator.workers.backend import WorkerView
from world_models.files.reading import Count, Finite, read_json, to_json
from world_models.files.writing import WriteError, write_file

EVERY = 1.0
"""Seconds between two writes."""

Duration = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
"""Seconds; far more than any driver runs."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerStatus:
    """The status of one worker: a `WorkerView` in plain values, with durations for times and names for digests."""

    name: str
    node: str
    device: str
    models: tuple[str, ...]
    """Names of its loaded world models."""
    plans: str
    """A description of its present batch; empty if it is idle."""
    seconds: Duration
    """Seconds for which it has been planning or idle."""
    cells: Count
    """Number of cells that it has planned."""
    deaths: Count
    """Predecessors that died."""

    @staticmethod
    def of(worker: WorkerView, models: Mapping[str, str]) -> WorkerStatus:
        """The worker as it is now; `models` has names by digest."""
        names = tuple(models.get(model, model) for model in worker.models)
        return WorkerStatus(
            worker.name, worker.node, worker.device, names, worker.plans, worker.seconds, worker.cells, worker.deaths
        )


@dataclass(frozen=True)
class Status:
    """A driver's status. It holds durations, not times of day, because the clocks of two machines need not agree."""

    sweeps: tuple[str, ...]
    host: str
    pid: Count
    state: str
    """`planning`, `drawing`, `finishing` (after Ctrl-C), `waiting until ...` (for storage), `done` or `stopped`."""
    beat: Count
    """A counter that grows with every write."""
    seconds: Duration
    """Seconds since the driver started."""
    cells: Count
    """Number of cells in all its sweeps."""
    there: Count
    """Cells that were recorded before it started."""
    done: Count
    """Cells that it has recorded, including failed ones."""
    failed: Count
    rate: Finite
    """Cells per second."""
    left: Duration | None = None
    """Estimated seconds left; None if not known yet."""
    left_low: Duration | None = None
    left_high: Duration | None = None
    successes: dict[str, tuple[Count, Count]] = field(default_factory=dict)
    """Successes and executed cells, by planner."""
    in_flight: Count = 0
    """Batches in flight."""
    retries: Count = 0
    """Batches that were handed out again."""
    quarantined: tuple[str, ...] = ()
    """Cells that kept killing their workers, with the workers' last output."""
    workers: tuple[WorkerStatus, ...] = ()
    kernel: str = ""
    """The kernel of the driver's machine, in words; empty if an earlier version wrote it."""
    tracking: str = ""
    """A description of the records that wait to be tracked."""
    process: ProcessIdentity | None = None
    """The driver, more exactly than by host and pid; None if an earlier version wrote it."""

    @property
    def ended(self) -> bool:
        """Whether the driver reported its end, which a killed one does not."""
        return self.state in ("done", "stopped")

    def is_from(self, holder: Holder | None) -> bool:
        """Whether it is from the driver that now holds the ledger."""
        if holder is None or not holder.alive or self.ended:
            return False
        return (holder.host, holder.pid, holder.process) == (self.host, self.pid, self.process)

    @staticmethod
    def read(file: Path) -> Status | None:
        """The status last written to the file; None if there is no file. Raises SpoiltFileError for one of another form."""
        remedy = "its driver writes it again; if that is another version of grasp-orchestrator, ask that one"
        try:
            return read_json(file, Status, "a driver's status", remedy)
        except FileNotFoundError:
            return None


class StatusWriter:
    """Writes the status from `snapshot` to some files, in a thread, until it is closed."""

    def __init__(self, snapshot: Callable[[int], Status], every: float = EVERY) -> None:
        """`snapshot` is called with the beat."""
        self._snapshot = snapshot
        self._every = every
        self._files: list[Path] = []
        self._beat = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="status", daemon=True)

    def start(self) -> None:
        """Write at once, and then periodically."""
        self.write()
        self._thread.start()

    def add_file(self, file: Path) -> None:
        """Write to a further file as well, for a sweep that joined."""
        self._files.append(file)

    def close(self) -> None:
        """Write once more and stop; do nothing if it was never started."""
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()
            self.write()

    def write(self) -> None:
        """Write now, skipping files that cannot be written, because the status is only informative."""
        self._beat += 1
        try:
            text = to_json(self._snapshot(self._beat))
        except RuntimeError:  # something changed during the snapshot; the next one will do
            return
        for file in list(self._files):
            try:
                write_file(file, text)
            except WriteError as error:
                _log.debug("%s", error)

    def _work(self) -> None:
        while not self._end.wait(self._every):
            self.write()
