"""The scheduler: it hands out the slowest cells first, in batches that fit, and decides what happens to those that fail.

The scheduler knows no workers: a backend asks it for a worker's next batch, and reports the result. Every added cell leaves in
exactly one `BatchResult`. Batch sizes follow guided self-scheduling (Polychronopoulos and Kuck, 1987): a batch takes a share
of what is left, so that the last batches are small and no worker idles at the end.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.artifacts.drawing import Drawing, Drawn
from orchestrator.core.batch import Assignment, Batch
from orchestrator.core.portion import Portion
from orchestrator.core.provenance import Provenance
from orchestrator.evaluation.results import BatchFailure, BatchResult, failed_batch
from orchestrator.scheduling.drawing_queue import DrawingQueue
from orchestrator.scheduling.durations import Durations
from orchestrator.scheduling.memory_limits import MemoryLimits
from orchestrator.scheduling.queues import ModelQueue, PointQueue, Queues
from world_models.errors import require

PROBE_ROWS = 8
"""Rows in a batch of a kind whose memory or duration is unknown."""
MIN_ROWS = 4
"""Rows below which a batch is not reduced for balance: small batches waste the arithmetic units."""
WORTH_A_BATCH = 1.0
"""Seconds of planning that justify a batch with fewer than `MIN_ROWS` rows."""
SHARE = 3
"""A batch takes at most a worker's fair share of what is left, divided by this."""
DEATHS = 5
"""Workers that may die with a single cell and nothing else on them before it is recorded as failed. With three, healthy cells
were written off by chance where machines die all the time."""
PARTS = 4
"""Parts into which a batch is cut if it killed its worker or raised: three cuts find one bad cell among 64."""
REORDER_SECONDS = 2.0
"""Seconds between two updates of the durations."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a batch."""

    max_rows: int = 64
    target_seconds: int | float = 60.0
    """Longest intended duration of a batch: a fault costs at most what is in flight."""
    mixed: bool = False
    """Whether batches may hold rows of several points of one kind (`orchestrator.core.mixing`). Seconds per row are then shares
    of a mixed batch's seconds, so sweeps that compare times plan each point in its own batches. A batch takes everything that
    waits if no other worker is idle, because more cells keep coming."""
    even: bool = False
    """Whether all batches of a point have one size, as large as `max_rows` and memory allow, even if workers idle. The seconds
    of a row depend on the size of its batch, so only then can they be compared."""

    def __post_init__(self) -> None:
        require(self.max_rows >= 1, f"max_rows {self.max_rows} is not a valid batch size: give at least 1.")
        require(
            self.target_seconds > 0,
            f"target_seconds {self.target_seconds} is not a valid duration of a batch: give seconds, e.g. 60.",
        )
        require(
            not (self.mixed and self.even),
            "batches cannot be both mixed and even, because the seconds of a mixed batch are shares: choose one.",
        )


@dataclass(frozen=True)
class AvailableWorker:
    """A worker that could take a batch."""

    name: str
    device: str = "cpu"
    models: tuple[str, ...] = ()
    """Digests of its loaded world models."""
    in_flight: int = 0
    """Batches that it has not finished."""
    memory: int | None = None
    """Bytes that it may use; None if unknown."""


class Scheduler:
    """Hands out every added cell and takes back its result. For one thread; `stop` may be set from another."""

    def __init__(
        self,
        durations: Durations,
        limits: Limits | None = None,
        memory_limits: MemoryLimits | None = None,
        stop: threading.Event | None = None,
        more: Callable[[], Iterable[Portion]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        drawings: DrawingQueue | None = None,
    ) -> None:
        """Once `stop` is set, nothing is handed out. `more` is asked for further cells now and then.

        `drawings` are handed out when there is nothing to plan.
        """
        self._durations = durations
        self._limits = limits or Limits()
        self._memory_limits = memory_limits or MemoryLimits()
        self._stop = stop or threading.Event()
        self._more = more
        self._clock = clock
        self._drawings = drawings or DrawingQueue()
        self._reordered = clock()
        self._queues = Queues(durations.row_seconds)
        self._again: deque[Assignment] = deque()
        self._in_flight: dict[Assignment, str] = {}
        self._models: dict[str, set[str]] = {}
        self._loading = 2.0
        """Seconds that loading a model takes: a guess until one has been loaded."""
        self.retries = 0
        """Batches that had to be handed out again."""
        self.quarantined: list[tuple[Batch, str]] = []
        """Cells that kept killing their workers, with the workers' last output."""

    def add(self, portions: Iterable[Portion]) -> int:
        """Add cells to plan, except those added before; return how many are new."""
        return self._queues.add(portions)

    @property
    def waiting(self) -> int:
        """Number of cells that no worker has."""
        return self._queues.rows + sum(len(task.batch.seeds) for task in self._again)

    @property
    def in_flight(self) -> int:
        """Number of batches that workers have."""
        return len(self._in_flight)

    @property
    def over(self) -> bool:
        """Whether nothing is left to hand out and no result is outstanding."""
        self._look_around()
        return not self._in_flight and (self._stop.is_set() or (not self.waiting and self._drawings.over))

    def next_drawing(self, worker: AvailableWorker) -> Drawing | None:
        """The worker's next drawing, once no worker has anything left to plan; None if there is none."""
        if self._stop.is_set() or self._in_flight or self.waiting:
            return None
        return self._drawings.next(worker.models)

    def drawn(self, drawing: Drawing, made: Drawn | None) -> None:
        """Take a finished drawing; None means that its worker was lost with it."""
        self._drawings.done(drawing, made)

    def next(self, worker: AvailableWorker, workers: int) -> Assignment | None:
        """The worker's next batch, given that `workers` share the work; None if there is nothing for now."""
        self._look_around()
        if self._stop.is_set() or any(name == worker.name and task.suspect for task, name in self._in_flight.items()):
            return None
        self._models[worker.name] = {*worker.models, *self._expected(worker.name)}
        if self._again:
            # A suspect waits for a worker of its own, so that no other batch can be blamed for it, or it for another.
            return None if worker.in_flight else self._hand(self._again.popleft(), worker)
        model_queue = self._model_for(worker)
        queue = model_queue.first() if model_queue is not None else None
        if model_queue is None or queue is None:
            return None
        queues = self._queues.mates(model_queue, queue) if self._limits.mixed else [queue]
        waiting = sum(map(len, queues))
        rows = self._rows(queue, waiting, worker, workers)
        # A batch that waits at one worker cannot go to another that becomes idle; and if more cells keep coming, it could
        # have grown in the meantime.
        if self._limits.mixed:
            small = waiting < self._limits.max_rows or self._fits(queue, worker) is None
        else:
            small = self._queues.seconds < workers * rows * queue.row_seconds
        if worker.in_flight and small:
            return None
        return self._hand(Assignment(self._queues.take(model_queue, queues, rows)), worker)

    def done(self, task: Assignment, answer: BatchResult | BatchFailure, device: str = "cpu") -> BatchResult | None:
        """Take a worker's answer; the result to pass on, or None if its cells will be retried in smaller batches."""
        del self._in_flight[task]
        self._drawings.invalidate()
        point, rows = task.batch.point, len(task.batch.seeds)
        if isinstance(answer, BatchResult):
            guessed = not self._durations.timed(point)
            self._durations.add(answer)
            if guessed and self._durations.timed(point):
                # Guesses in relative units have become seconds.
                self._queues.reorder()
            if answer.resource_use is not None:
                self._loading = answer.resource_use.loading or self._loading
            self._memory_limits.measured(
                point, device, rows, answer.resource_use.peak_bytes if answer.resource_use is not None else None
            )
            return replace(answer, results=tuple(replace(result, attempts=task.attempts) for result in answer.results))
        if answer.out_of_memory:
            self._memory_limits.too_large(point, device, rows)
        if rows == 1:
            return self._failed(task, answer.message)
        self._retry(task, 2 if answer.out_of_memory else PARTS)
        return None

    def lost(self, tasks: Iterable[Assignment], worker: str) -> None:
        """Hand out again the batches of a worker that left with its node or was removed, without blame."""
        self._models.pop(worker, None)
        for task in tasks:
            del self._in_flight[task]
            self.retries += 1
            self._again.append(replace(task, attempts=task.attempts + 1))

    def died(self, tasks: Sequence[Assignment], worker: str, reason: str) -> list[BatchResult]:
        """Retry the unfinished `tasks` of a dead worker; the records of cells that have killed too many workers.

        Which of several tasks killed it is unknown: the answer to the first may be lost because the second killed the worker.
        Each is retried alone; one that kills alone is cut, until a single cell is left.
        """
        self._models.pop(worker, None)
        failed: list[BatchResult] = []
        for task in tasks:
            del self._in_flight[task]
            blamed = replace(task, deaths=task.deaths + (len(tasks) == 1), suspect=True)
            if not blamed.deaths:
                self.retries += 1
                self._again.append(replace(blamed, attempts=task.attempts + 1))
            elif len(task.batch.seeds) > 1:
                self._retry(replace(blamed, deaths=0), PARTS)
            elif blamed.deaths < DEATHS:
                self.retries += 1
                self._again.append(replace(blamed, attempts=task.attempts + 1))
            else:
                self.quarantined.append((task.batch, reason))
                failed.append(self._failed(blamed, f"its worker died {blamed.deaths} times: {reason}"[:500]))
        return failed

    def _hand(self, task: Assignment, worker: AvailableWorker) -> Assignment:
        self._in_flight[task] = worker.name
        self._models[worker.name].add(task.batch.point.model_digest)
        return task

    def _retry(self, task: Assignment, parts: int) -> None:
        pieces = task.batch.split(parts)
        self.retries += len(pieces)
        self._again.extend(replace(task, batch=piece, attempts=task.attempts + 1) for piece in pieces)

    def _failed(self, task: Assignment, reason: str) -> BatchResult:
        return failed_batch(task.batch, reason, Provenance.here("cpu"), task.attempts)

    def _look_around(self) -> None:
        """Now and then, ask for further cells and update the durations."""
        if self._clock() - self._reordered < REORDER_SECONDS and (self.waiting or self._in_flight):
            return
        self._reordered = self._clock()
        if self._more is not None and not self._stop.is_set():
            self.add(self._more())
        self._queues.reorder()

    def _expected(self, worker: str) -> set[str]:
        """Models of a worker's batches, which it will have loaded."""
        return {task.batch.point.model_digest for task, name in self._in_flight.items() if name == worker}

    def _model_for(self, worker: AvailableWorker) -> ModelQueue | None:
        """The world model that a worker should plan with: one that it has loaded, unless loading another pays."""
        waiting = self._queues.waiting()
        if not waiting:
            return None
        mine = self._models[worker.name]
        rest = [had for name, had in self._models.items() if name != worker.name]
        others = {model.digest: sum(model.digest in had for had in rest) for model in waiting}
        loaded = [model for model in waiting if model.digest in mine]
        best = max(loaded, key=lambda model: model.seconds / (others[model.digest] + 1), default=None)
        unloaded = [model for model in waiting if model.digest not in mine]
        candidate = max(unloaded, key=lambda model: model.seconds / (others[model.digest] + 1), default=None)
        if candidate is None:
            return best
        if best is None:
            # If other workers have it and have nearly finished, loading would take longer than they do.
            held = others[candidate.digest] and self._in_flight
            return None if held and candidate.seconds / others[candidate.digest] <= self._loading else candidate
        mine_left = best.seconds / (others[best.digest] + 1)
        pays = candidate.seconds / (others[candidate.digest] + 1) > mine_left + self._loading
        return candidate if pays else best

    def _fits(self, queue: PointQueue, worker: AvailableWorker) -> int | None:
        """How many rows of the queue's kind fit into a worker's memory; None if the kind was not measured."""
        return self._memory_limits.limit(queue.point, worker.device, worker.memory)

    def _rows(self, queue: PointQueue, waiting: int, worker: AvailableWorker, workers: int) -> int:
        """How many of `waiting` rows of a kind to hand out: they fit, justify a batch, and leave enough for other workers."""
        fits = self._fits(queue, worker)
        if self._limits.even:
            return _even_part(waiting, min(self._limits.max_rows, waiting, waiting if fits is None else fits))
        rows = min(self._limits.max_rows, waiting, PROBE_ROWS if fits is None else fits)
        timed = self._durations.timed(queue.point)
        if self._limits.mixed:
            # Further rows come with every result; until then no worker takes more than a fair share of all rows under way.
            under_way = waiting + sum(len(task.batch.seeds) for task in self._in_flight)
            most = max(1, int(self._limits.target_seconds / queue.row_seconds)) if timed else rows
            return _even_part(waiting, min(rows, most, math.ceil(under_way / max(1, workers))))
        share = self._queues.seconds / (SHARE * max(1, workers))
        if not timed:
            return _even_part(waiting, min(rows, PROBE_ROWS, max(MIN_ROWS, int(share / queue.row_seconds))))
        fair = int(min(self._limits.target_seconds, share) / queue.row_seconds)
        floor = min(MIN_ROWS, max(1, int(WORTH_A_BATCH / queue.row_seconds)))
        return _even_part(waiting, min(rows, max(fair, floor)))


def _even_part(rows: int, most: int) -> int:
    """The size of the first of equal parts of `rows`, none larger than `most`: 66 rows in batches of 64 make 33 and 33."""
    return math.ceil(rows / math.ceil(rows / most))
