"""Workers in simulated time, for tests of the scheduler without planning."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from orchestrator.core.batch import Assignment, Batch
from orchestrator.core.cell import Named, Point
from orchestrator.core.portion import Portion
from orchestrator.evaluation.results import BatchFailure, BatchResult, ResourceUse
from orchestrator.scheduling.scheduler import AvailableWorker, Scheduler
from orchestrator.testing import quick_result


def point(horizon: int = 10, model: str = "a", planner: str = "gd") -> Point:
    return Point(Named.of("wall"), model, model * 4, Named.of(planner), horizon)


@dataclass
class FakeDurations:
    """Seconds per row by horizon, known from the start by default."""

    seconds_of: Callable[[Point], float] = lambda point: point.horizon / 10
    known: bool = True
    seen: list[BatchResult] = field(default_factory=list)

    def add(self, result: BatchResult) -> None:
        self.seen.append(result)

    def row_seconds(self, point: Point, rows: int = 8) -> float:
        return self.seconds_of(point)

    def timed(self, point: Point) -> bool:
        return self.known


def answered(batch: Batch, resource_use: ResourceUse | None = None) -> BatchResult:
    records = tuple(replace(r, status="completed", error=None) for r in quick_result(batch.point, batch.seeds).results)
    return BatchResult(records, resource_use)


@dataclass
class Simulation:
    """Workers that plan in simulated time and fail as configured."""

    scheduler: Scheduler
    workers: int
    seconds: Callable[[Batch], float]
    poison: frozenset[int] = frozenset()
    """Seeds that kill the worker."""
    raising: frozenset[int] = frozenset()
    fits: int = 10**9
    """Largest number of rows that does not run out of memory."""
    chance: float = 0.0
    """Probability that a worker, or its node, dies during a batch that is not to blame."""
    loading: float = 0.0
    seed: int = 0
    now: float = 0.0
    results: list[BatchResult] = field(default_factory=list)
    handed: list[Assignment] = field(default_factory=list)
    busy: dict[int, float] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)
    switches: int = 0

    def run(self) -> list[BatchResult]:
        rng = random.Random(self.seed)
        sent: dict[int, list[Assignment]] = {worker: [] for worker in range(self.workers)}
        models: dict[int, tuple[str, ...]] = dict.fromkeys(range(self.workers), ())
        names = {worker: f"w{worker}" for worker in range(self.workers)}
        clock: list[tuple[float, int]] = []
        events = 0
        while not self.scheduler.over:
            events += 1
            assert events < 100_000, "the simulation does not end"
            for depth in (0, 1):
                for worker, queue in sent.items():
                    if len(queue) != depth:
                        continue
                    task = self.scheduler.next(
                        AvailableWorker(names[worker], models=models[worker], in_flight=depth, memory=2**30), self.workers
                    )
                    if task is None:
                        continue
                    assert not any(other.suspect for other in queue), "a suspect has company"
                    assert not (task.suspect and queue), "a suspect has company"
                    self.handed.append(task)
                    queue.append(task)
                    if depth == 0:
                        heapq.heappush(clock, (self.now + self._takes(worker, task, models), worker))
            assert clock, "work is left, and nobody has any"
            self.now, worker = heapq.heappop(clock)
            queue = sent[worker]
            task = queue[0]
            rows = task.batch.seeds
            accident = rng.random() < self.chance
            if self.poison & set(rows) or accident:
                dying, sent[worker], models[worker] = list(queue), [], ()
                old, names[worker] = names[worker], f"{names[worker]}'"
                if accident and rng.random() < 0.5:
                    self.scheduler.lost(dying, old)
                else:
                    self.results.extend(self.scheduler.died(dying, old, "signal 9"))
                continue
            queue.pop(0)
            self.ended[worker] = self.now
            if self.raising & set(rows):
                answer: BatchResult | BatchFailure = BatchFailure("ValueError: on purpose")
            elif len(rows) > self.fits:
                answer = BatchFailure("out of memory", out_of_memory=True)
            else:
                answer = answered(
                    task.batch, ResourceUse(self.seconds(task.batch), self.loading, 1000 * len(rows), models[worker])
                )
            result = self.scheduler.done(task, answer)
            if result is not None:
                self.results.append(result)
            if queue:
                heapq.heappush(clock, (self.now + self._takes(worker, queue[0], models), worker))
        return self.results

    def _takes(self, worker: int, task: Assignment, models: dict[int, tuple[str, ...]]) -> float:
        seconds = self.seconds(task.batch)
        self.busy[worker] = self.busy.get(worker, 0.0) + seconds
        digest = task.batch.point.model_digest
        if digest not in models[worker]:
            models[worker] = (*models[worker], digest)
            self.switches += 1
            seconds += self.loading
        return seconds


def cell_counts(portions: Iterable[Portion]) -> Counter[str]:
    return Counter(cell.cell_id for portion in portions for cell in portion.cells())


def given_back(results: Iterable[BatchResult]) -> Counter[str]:
    return Counter(record.cell_id for result in results for record in result.results)


def batch_duration(batch: Batch) -> float:
    return len(batch.seeds) * batch.point.horizon / 10
