"""Running a sweep is running what the ledger lacks."""

from __future__ import annotations

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
from orchestrator.scheduling.drawing_queue import DrawingQueue
from orchestrator.scheduling.durations import DurationModel, Durations
from orchestrator.scheduling.memory_limits import MemoryLimits
from orchestrator.scheduling.scheduler import Limits, Scheduler
from orchestrator.storage.opening import open_storage
from orchestrator.workers.backend import Backend
from orchestrator.workers.evaluator import BatchResult
from world_models.errors import UserError

FULL_EVERY = 5.0
"""Seconds between two tries to write to a disk that is full."""


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
    left: int = 0
    """Cells that were not planned, because the run was stopped."""
    retries: int = 0
    """Batches that had to be handed out again."""
    drawn: int = 0
    """Cells that were drawn."""
    planning_seconds: float = 0.0
    """That the cells' planning took, on all workers together."""
    drawing_seconds: float = 0.0
    """That pictures took, on all workers together; loading models is in neither."""

    @property
    def artifact_share(self) -> float:
        """Drawing over planning; 0 where nothing was planned."""
        return self.drawing_seconds / self.planning_seconds if self.planning_seconds else 0.0


@dataclass(frozen=True)
class Hooks:
    """Who is told, who is asked; all from the driver's thread."""

    on_start: Callable[[Scheduler], None] = lambda scheduler: None
    """The scheduler, before anything is handed out: for those who watch."""
    on_result: Callable[[BatchResult], None] = lambda result: None
    """Each batch, once it is durable."""
    on_full: Callable[[UserError], None] = lambda error: None
    """The disk is full; it is tried again until there is room or the run is stopped."""
    more: Callable[[], Iterable[Portion]] | None = None
    """Further cells, asked for now and then; those in the ledger are left out here."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set it, and nothing more is handed out; the run ends when what is in flight has arrived."""
    on_drawing: Callable[[], None] = lambda: None
    """Everything is planned, and pictures are lacking: called with each point that is about to be drawn."""


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
    retry_failed: bool = False,
    config_digest: str = "",
    selection: ArtifactSelection | None = None,
) -> RunSummary:
    """Plan the cells that the ledger lacks; each batch is durable before `hooks.on_result` sees it. Then draw what lacks.

    `artifacts` is the folder or URI that gets files of each point's `chosen` cells. The backend is not touched when nothing is
    missing. State lives on disk: a killed run is continued by calling this again.
    """
    began = time.perf_counter()
    hooks, revision = hooks or Hooks(), git_revision()
    computed = failed = 0
    planning = 0.0
    renderer = _Renderer([*portions], ledger, artifacts, selection or ArtifactSelection(), hooks)
    with ledger.writer():
        missing = lacking(portions, ledger.finished_seeds(include_failed=not retry_failed))

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
    """What is drawn in a run, and what it took."""

    portions: list[Portion]
    ledger: Ledger
    artifacts: Path | str | None
    selection: ArtifactSelection
    hooks: Hooks
    drawn: int = 0
    seconds: float = 0.0

    def find(self) -> Iterator[Drawing]:
        """What is lacking now."""
        if self.artifacts is None:
            return
        for drawing in ArtifactStore(open_storage(self.artifacts)).lacking(self.portions, self.ledger, self.selection):
            self.hooks.on_drawing()
            yield drawing

    def keep(self, drawn: Drawn) -> None:
        """Make it durable."""
        assert self.artifacts is not None
        artifact_store = ArtifactStore(open_storage(self.artifacts))
        _write_with_retries(lambda: artifact_store.keep(drawn), self.hooks)
        self.drawn += len({artifact.seed for artifact in drawn.artifacts})
        self.seconds += drawn.seconds


def _write_with_retries(write: Callable[[], None], hooks: Hooks) -> None:
    """Write, and while the disk is full try again; UserError when the run is stopped meanwhile."""
    while True:
        try:
            write()
        except StorageWaitError as error:
            hooks.on_full(error)
            if hooks.stop.wait(FULL_EVERY):
                raise
        else:
            return
