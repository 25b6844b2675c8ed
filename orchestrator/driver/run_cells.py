"""Running a sweep means running the cells that the ledger lacks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.artifacts.artifact_store import ArtifactStore
from orchestrator.artifacts.drawing import Drawing, Drawn
from orchestrator.artifacts.selection import ArtifactSelection
from orchestrator.core.portion import Portion, count, lacking
from orchestrator.core.provenance import git_revision
from orchestrator.ledger.ledger import Ledger, StorageWaitError
from orchestrator.ledger.records import stamped
from orchestrator.ledger.redo import Redo
from orchestrator.ledger.seal import DamagedPartError
from orchestrator.scheduling.drawing_queue import DrawingQueue
from orchestrator.scheduling.durations import DurationModel, Durations
from orchestrator.scheduling.memory_limits import MemoryLimits
from orchestrator.scheduling.scheduler import Limits, Scheduler
from orchestrator.storage.opening import open_storage
from orchestrator.workers.backend import Backend
from orchestrator.workers.evaluator import BatchResult

_log = logging.getLogger(__name__)

RETRY_EVERY = 5.0
"""Seconds between two attempts to write to storage that takes nothing now."""


@dataclass(frozen=True)
class RunSummary:
    """Summary of a run."""

    computed: int
    """Cells recorded by this run, including failed ones."""
    skipped: int
    """Cells that were already in the ledger."""
    failed: int
    """Cells of `computed` that failed."""
    seconds: float
    left: int = 0
    """Cells not planned because the run was stopped."""
    retries: int = 0
    """Batches that had to be handed out again."""
    drawn: int = 0
    """Number of cells drawn."""
    planning_seconds: float = 0.0
    """Seconds of planning, over all workers."""
    drawing_seconds: float = 0.0
    """Seconds of drawing, over all workers; loading models is counted in neither."""

    @property
    def artifact_share(self) -> float:
        """Seconds of drawing over seconds of planning; 0 if nothing was planned."""
        return self.drawing_seconds / self.planning_seconds if self.planning_seconds else 0.0


@dataclass(frozen=True)
class Hooks:
    """Callbacks of a run, all called in the driver's thread."""

    on_start: Callable[[Scheduler], None] = lambda scheduler: None
    """Called with the scheduler before anything is handed out."""
    on_result: Callable[[BatchResult], None] = lambda result: None
    """Called with each result once it is durable."""
    on_wait: Callable[[StorageWaitError], None] = lambda error: None
    """Called once when the disk is full or a store does not answer; writing is retried until it works or the run is stopped."""
    on_written: Callable[[], None] = lambda: None
    """Called when it works again."""
    more: Callable[[], Iterable[Portion]] | None = None
    """Asked now and then for further cells; those in the ledger are skipped."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Once set, nothing more is handed out, and the run ends when everything in flight has arrived."""
    on_drawing: Callable[[], None] = lambda: None
    """Called before each drawing, once everything is planned."""


def run_cells(
    portions: Sequence[Portion],
    ledger: Ledger,
    backend: Backend,
    limits: Limits | None = None,
    hooks: Hooks | None = None,
    *,
    artifacts: Path | str | None = None,
    durations: Durations | None = None,
    memory_limits: MemoryLimits | None = None,
    redo: Redo | None = None,
    config_digest: str = "",
    selection: ArtifactSelection | None = None,
) -> RunSummary:
    """Plan the cells that the ledger lacks, then draw missing artifacts. Each result is durable before `hooks.on_result`.

    `artifacts` is the folder or URI for files of the cells that `selection` picks from each point, and `redo` says which
    recorded cells are planned once more. The backend is not used if nothing is missing. State lives on disk: call this again
    to continue a killed run.
    """
    began = time.perf_counter()
    hooks, revision = hooks or Hooks(), git_revision()
    computed = failed = 0
    planning = 0.0
    renderer = _Renderer([*portions], ledger, artifacts, selection or ArtifactSelection(), hooks)
    with ledger.writer():
        missing = (redo or Redo()).missing(portions, ledger)
        if redo is not None and redo.before is not None:
            renderer.forget(missing)

        def more() -> Iterable[Portion]:
            added = [] if hooks.more is None else list(hooks.more())
            renderer.portions += added
            return lacking(added, ledger.finished_seeds()) if added else ()

        drawings = DrawingQueue(renderer.find, renderer.keep)
        scheduler = Scheduler(durations or DurationModel(), limits, memory_limits, hooks.stop, more, drawings=drawings)
        planned = scheduler.add(missing)
        hooks.on_start(scheduler)
        for batch in backend.run(scheduler) if not scheduler.over else ():
            done = replace(batch, results=tuple(stamped(r, revision, config_digest) for r in batch.results))
            _write_with_retries(lambda done=done: ledger.append(done.results), hooks)
            computed += len(done.results)
            planning += sum(result.plan_seconds or 0.0 for result in done.results)
            failed += sum(result.status == "failed" for result in done.results)
            hooks.on_result(done)
        left = scheduler.waiting
    seconds = time.perf_counter() - began
    skipped = count(portions) - planned
    return RunSummary(computed, skipped, failed, seconds, left, scheduler.retries, renderer.drawn, planning, renderer.seconds)


@dataclass
class _Renderer:
    """Finds the drawings of a run, stores them and counts their cost."""

    portions: list[Portion]
    ledger: Ledger
    artifacts: Path | str | None
    selection: ArtifactSelection
    hooks: Hooks
    drawn: int = 0
    seconds: float = 0.0

    def find(self) -> Iterator[Drawing]:
        """The drawings missing now."""
        if self.artifacts is None:
            return
        try:
            for drawing in ArtifactStore(open_storage(self.artifacts)).lacking(self.portions, self.ledger, self.selection):
                self.hooks.on_drawing()
                yield drawing
        except DamagedPartError as error:  # everything is planned by now, and a later run can draw it
            _log.warning("not everything is drawn: %s", error)

    def forget(self, portions: Sequence[Portion]) -> None:
        """Remove the files of cells that are about to be planned anew, so that none outlives its plan."""
        if self.artifacts is None:
            return
        artifact_store = ArtifactStore(open_storage(self.artifacts))
        for portion in portions:
            artifact_store.forget(portion.point.point_id, portion.seeds.tolist())

    def keep(self, drawn: Drawn) -> None:
        """Store a finished drawing durably."""
        assert self.artifacts is not None
        artifact_store = ArtifactStore(open_storage(self.artifacts))
        _write_with_retries(lambda: artifact_store.keep(drawn), self.hooks)
        self.drawn += len({artifact.seed for artifact in drawn.artifacts})
        self.seconds += drawn.seconds


def _write_with_retries(write: Callable[[], None], hooks: Hooks) -> None:
    """Write, and retry while the storage takes nothing. Raises UserError if the run is stopped meanwhile."""
    waiting_until = ""
    while True:
        try:
            write()
        except StorageWaitError as error:
            if error.until != waiting_until:
                waiting_until = error.until
                hooks.on_wait(error)
            if hooks.stop.wait(RETRY_EVERY):
                raise
        else:
            if waiting_until:
                hooks.on_written()
            return
