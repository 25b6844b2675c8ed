"""What a driver is doing, for those who look from elsewhere: one small file, written anew about once a second."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from orchestrator.storage.locks import Holder
from world_models.errors import UserError

EVERY = 1.0
"""Seconds between two writings."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerStatus:
    """One worker."""

    name: str
    node: str
    device: str
    models: tuple[str, ...]
    """Names of the world models that it has loaded."""
    plans: str
    """What it plans now, in words; empty: it is idle."""
    seconds: float
    """How long it has been at that."""
    cells: int
    """Cells that it has planned."""
    deaths: int
    """Workers in its place that died before it."""


@dataclass(frozen=True)
class Status:
    """A driver's account of itself. Durations, not times of day: two machines' clocks need not agree."""

    sweeps: tuple[str, ...]
    host: str
    pid: int
    state: str
    """`planning`, `finishing` (after Ctrl-C), `waiting for disk`, `done` or `stopped`."""
    beat: int
    """Grows with every writing."""
    seconds: float
    """Since the driver began."""
    cells: int
    """Of all its sweeps."""
    there: int
    """Cells that were recorded before it began."""
    done: int
    """Cells that it has recorded, failed ones included."""
    failed: int
    rate: float
    """Cells a second."""
    left: float | None = None
    """Seconds to go; None: not known yet."""
    left_low: float | None = None
    left_high: float | None = None
    successes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By planner: successes, and cells that ran."""
    in_flight: int = 0
    """Batches."""
    retries: int = 0
    """Batches that were handed out again."""
    quarantined: tuple[str, ...] = ()
    """Cells that kept killing their workers, with their last words."""
    workers: tuple[WorkerStatus, ...] = ()
    tracking: str = ""
    """What waits to be tracked, in words."""

    @property
    def ended(self) -> bool:
        """Whether the driver said that it ends; one that was killed did not."""
        return self.state in ("done", "stopped")

    def is_from(self, holder: Holder | None) -> bool:
        """Whether it is of the driver that holds the ledger now."""
        return holder is not None and holder.alive and not self.ended and (holder.host, holder.pid) == (self.host, self.pid)

    @staticmethod
    def read(file: Path) -> Status | None:
        """What a driver wrote last; None when none ever did. Raises what `from_json` raises."""
        try:
            return Status.from_json(file.read_text())
        except FileNotFoundError:
            return None

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Status:
        """What `to_json` wrote; UserError for anything else, such as another version's."""
        try:
            raw = json.loads(text)
            workers = tuple(WorkerStatus(**{**worker, "models": tuple(worker["models"])}) for worker in raw["workers"])
            successes = {name: (int(won), int(ran)) for name, (won, ran) in raw["successes"].items()}
            plain = {"sweeps": tuple(raw["sweeps"]), "quarantined": tuple(raw["quarantined"])}
            return Status(**{**raw, **plain, "workers": workers, "successes": successes})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError("the status cannot be read: another version of grasp-orchestrator wrote it.") from error


class StatusWriter:
    """Writes what `snapshot` says to some files, in a thread, until it is closed."""

    def __init__(self, snapshot: Callable[[int], Status], every: float = EVERY) -> None:
        """`snapshot` gets the beat."""
        self._snapshot = snapshot
        self._every = every
        self._files: list[Path] = []
        self._beat = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="status", daemon=True)

    def start(self) -> None:
        """Begin to write, at once and then every so often."""
        self.write()
        self._thread.start()

    def add_file(self, file: Path) -> None:
        """A further file: of a sweep that has joined."""
        self._files.append(file)

    def close(self) -> None:
        """Write once more, and end; nothing where it was never started."""
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()
            self.write()

    def write(self) -> None:
        """Write now. A file that cannot be written is left alone: nobody may be looking."""
        self._beat += 1
        try:
            text = self._snapshot(self._beat).to_json()
        except RuntimeError:  # something changed while it was looked at; the next look will do
            return
        for file in list(self._files):
            temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
            try:
                temporary.write_text(text)
                temporary.replace(file)
            except OSError as error:
                _log.debug("cannot write %s: %s", file, error)

    def _work(self) -> None:
        while not self._end.wait(self._every):
            self.write()
