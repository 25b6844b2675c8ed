"""The scheduler on simulated workers: every cell answered once whatever happens, nothing blamed wrongly, nobody idle."""

from __future__ import annotations

import heapq
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.batch import Assignment, Batch
from orchestrator.core.cell import Named, Point
from orchestrator.core.portion import Portion
from orchestrator.evaluation.results import BatchFailure, BatchResult, ResourceUse
from orchestrator.scheduling.memory_limits import MemoryLimits
from orchestrator.scheduling.scheduler import DEATHS, MIN_ROWS, PROBE_ROWS, AvailableWorker, Limits, Scheduler
from orchestrator.testing import quick_result
from world_models.errors import UserError


def point(horizon: int = 10, model: str = "a", planner: str = "gd") -> Point:
    return Point(Named.of("wall"), model, model * 4, Named.of(planner), horizon)


@dataclass
class FakeDurations:
    """Seconds a row by horizon, known from the start unless said otherwise."""

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
    """Workers that plan in simulated time and fail as they are told to."""

    scheduler: Scheduler
    workers: int
    seconds: Callable[[Batch], float]
    poison: frozenset[int] = frozenset()
    """Seeds that kill the worker."""
    raising: frozenset[int] = frozenset()
    fits: int = 10**9
    """Rows that do not run out of memory."""
    chance: float = 0.0
    """Of a worker's death, or its node's, during a batch that is innocent."""
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


sizes_of_points = st.lists(st.tuples(st.integers(1, 90), st.sampled_from("abc")), min_size=1, max_size=7)


@settings(deadline=None, max_examples=120)
@given(
    shape=sizes_of_points,
    workers=st.integers(1, 6),
    max_rows=st.integers(1, 64),
    known=st.booleans(),
    poison=st.sets(st.integers(0, 89), max_size=2),
    raising=st.sets(st.integers(0, 89), max_size=2),
    fits=st.sampled_from([1, 3, 10, 1000]),
    chance=st.sampled_from([0.0, 0.05]),
    seed=st.integers(0, 5),
)
def test_every_cell_is_answered_once_and_only_culprits_fail(
    shape: list[tuple[int, str]],
    workers: int,
    max_rows: int,
    known: bool,
    poison: set[int],
    raising: set[int],
    fits: int,
    chance: float,
    seed: int,
) -> None:
    portions = [Portion.of(point(10 * (i + 1), model), range(n)) for i, (n, model) in enumerate(shape)]
    scheduler = Scheduler(FakeDurations(known=known), Limits(max_rows), clock=lambda: 0.0)
    assert scheduler.add(portions) == sum(cell_counts(portions).values())
    culprits = frozenset(poison | raising)
    simulation = Simulation(scheduler, workers, batch_duration, frozenset(poison), frozenset(raising), fits, chance, 0.5, seed)
    results = simulation.run()
    assert given_back(results) == cell_counts(portions)
    failed = {record.seed for result in results for record in result.results if record.status == "failed"}
    innocent = failed - culprits
    assert not innocent or chance > 0  # three accidents in a row on one lonely cell are possible, and look like its fault
    assert len(innocent) <= 1
    assert {seed for seed in culprits if any(seed in portion.seeds for portion in portions)} <= failed
    assert all(1 <= len(task.batch.seeds) <= max_rows for task in simulation.handed)
    lasts = {record.cell_id: record for result in results for record in result.results}
    assert all((record.attempts or 0) >= 1 for record in lasts.values())
    assert scheduler.waiting == scheduler.in_flight == 0


@pytest.mark.parametrize("workers", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("rows", [1, 20, 200])
def test_nobody_idles_at_the_end(workers: int, rows: int) -> None:
    portions = [Portion.of(point(10 * (i + 1)), range(rows)) for i in range(6)]
    scheduler = Scheduler(FakeDurations(), clock=lambda: 0.0)
    scheduler.add(portions)
    simulation = Simulation(scheduler, workers, batch_duration)
    simulation.run()
    total = sum(len(p) * p.point.horizon / 10 for p in portions)
    dearest = 6.0
    # Greedy assignment of the dearest first ends within a third of the longest indivisible piece (Graham, 1969).
    piece = max(dearest, MIN_ROWS * 0.1)
    assert simulation.now <= total / workers + piece
    if rows == 200:
        assert simulation.now <= 1.04 * total / workers


def test_times_that_are_guessed_wrong_are_evened_out_at_the_tail() -> None:
    """Rows of the same price take from half to twice of it."""
    noise = random.Random(3)
    scheduler = Scheduler(FakeDurations(), clock=lambda: 0.0)
    portions = [Portion.of(point(10 * (i + 1)), range(200)) for i in range(6)]
    scheduler.add(portions)
    simulation = Simulation(scheduler, 4, lambda batch: batch_duration(batch) * noise.choice([0.5, 1.0, 2.0]))
    simulation.run()
    assert simulation.now <= 1.1 * sum(simulation.busy.values()) / 4


def test_the_dearest_cells_come_first() -> None:
    scheduler = Scheduler(FakeDurations(), clock=lambda: 0.0)
    scheduler.add([Portion.of(point(horizon), range(8)) for horizon in (10, 50, 30)])
    simulation = Simulation(scheduler, 1, batch_duration)
    simulation.run()
    horizons = [task.batch.point.horizon for task in simulation.handed]
    assert horizons == sorted(horizons, reverse=True)


def test_a_kind_that_was_never_measured_or_timed_starts_small_and_grows() -> None:
    scheduler = Scheduler(durations := FakeDurations(known=False), clock=lambda: 0.0)
    scheduler.add([Portion.of(point(), range(500))])
    asking = AvailableWorker("w", memory=2**30)
    first = scheduler.next(asking, 1)
    assert first is not None
    assert len(first.batch.seeds) <= PROBE_ROWS
    scheduler.done(first, answered(first.batch, ResourceUse(0.1, peak_bytes=1000)))
    durations.known = True
    second = scheduler.next(asking, 1)
    assert second is not None
    assert 32 < len(second.batch.seeds) <= 64


def test_memory_decides_how_many_rows(tmp_path) -> None:
    memory_limits = MemoryLimits(tmp_path / "sizes.json")
    scheduler = Scheduler(FakeDurations(), Limits(1000), memory_limits, clock=lambda: 0.0)
    scheduler.add([Portion.of(point(), range(5000))])
    asking = AvailableWorker("w", memory=100_000)
    first = scheduler.next(asking, 1)
    assert first is not None
    scheduler.done(first, answered(first.batch, ResourceUse(0.1, peak_bytes=2000 * len(first.batch.seeds))))
    second = scheduler.next(asking, 1)
    assert second is not None
    assert 30 <= len(second.batch.seeds) <= 40  # 80 % of 100 kB at 2 kB a row
    assert scheduler.done(second, BatchFailure("out of memory", out_of_memory=True)) is None
    pieces = [scheduler.next(AvailableWorker(f"w{i}", memory=100_000), 1) for i in range(2)]
    assert sum(len(piece.batch.seeds) for piece in pieces if piece) == len(second.batch.seeds)
    fresh = MemoryLimits(tmp_path / "sizes.json")  # another run remembers
    assert fresh.limit(point(), "cpu", 100_000) == len(second.batch.seeds) // 2
    assert fresh.limit(point(20), "cpu", 100_000) is None
    assert fresh.limit(point(), "cuda", 100_000) is None


def test_a_single_cell_that_does_not_fit_is_a_recorded_failure() -> None:
    scheduler = Scheduler(FakeDurations(), clock=lambda: 0.0)
    scheduler.add([Portion.of(point(), range(5))])
    results = Simulation(scheduler, 2, batch_duration, fits=0).run()
    assert {record.error for result in results for record in result.results} == {"out of memory"}
    assert len(given_back(results)) == 5


def test_a_poison_cell_is_found_among_many_and_says_what_it_said() -> None:
    scheduler = Scheduler(FakeDurations(), clock=lambda: 0.0)
    scheduler.add([Portion.of(point(), range(64))])
    results = Simulation(scheduler, 1, batch_duration, poison=frozenset({17})).run()
    failed = [record for result in results for record in result.results if record.status == "failed"]
    assert [(record.seed, record.error) for record in failed] == [(17, f"its worker died {DEATHS} times: signal 9")]
    assert failed[0].attempts is not None
    assert DEATHS < failed[0].attempts <= 12
    assert [batch.seeds for batch, _ in scheduler.quarantined] == [(17,)]


def test_a_node_that_leaves_costs_no_blame_however_often() -> None:
    scheduler = Scheduler(FakeDurations(), clock=lambda: 0.0)
    scheduler.add([Portion.of(point(), [0])])
    for again in range(2 * DEATHS):
        task = scheduler.next(AvailableWorker(f"w{again}"), 1)
        assert task is not None
        assert (task.attempts, task.suspect) == (again + 1, False)
        scheduler.lost([task], f"w{again}")
    task = scheduler.next(AvailableWorker("last"), 1)
    assert task is not None
    result = scheduler.done(task, answered(task.batch))
    assert result is not None
    assert [record.attempts for record in result.results] == [2 * DEATHS + 1]


def test_workers_stay_with_their_model_unless_another_is_far_behind() -> None:
    portions = [Portion.of(point(10 * (i + 1), model), range(40)) for i in range(3) for model in "ab"]
    scheduler = Scheduler(FakeDurations(), clock=lambda: 0.0)
    scheduler.add(portions)
    even = Simulation(scheduler, 4, batch_duration, loading=5.0)
    even.run()
    assert even.switches <= 6
    lonely = Scheduler(FakeDurations(), clock=lambda: 0.0)
    lonely.add([Portion.of(point(10, "a"), range(8)), Portion.of(point(100, "b"), range(400))])
    lopsided = Simulation(lonely, 4, batch_duration, loading=5.0)
    lopsided.run()
    total = 8 + 400 * 10
    assert lopsided.now <= 1.05 * (total / 4 + 10)


def test_loading_a_model_that_others_have_nearly_done_with_does_not_pay() -> None:
    scheduler = Scheduler(FakeDurations(lambda point: 0.1), clock=lambda: 0.0)
    scheduler.add([Portion.of(point(10, "a"), range(20))])
    first = scheduler.next(AvailableWorker("has it", models=("aaaa",)), 2)
    assert first is not None
    assert scheduler.next(AvailableWorker("has not"), 2) is None  # less than 2 s of work is left: loading takes as long


def test_cells_that_join_are_planned_once() -> None:
    added_later = [[Portion.of(point(), range(5, 15)), Portion.of(point(20), range(3))], []]
    scheduler = Scheduler(FakeDurations(), more=lambda: added_later.pop(0) if added_later else [], clock=lambda: 0.0)
    scheduler.add([Portion.of(point(), range(10))])
    results = Simulation(scheduler, 2, batch_duration).run()
    assert given_back(results) == cell_counts([Portion.of(point(), range(15)), Portion.of(point(20), range(3))])


def test_after_stop_nothing_is_handed_out_and_what_is_in_flight_arrives() -> None:
    stop = threading.Event()
    scheduler = Scheduler(FakeDurations(), stop=stop, clock=lambda: 0.0)
    scheduler.add([Portion.of(point(), range(100))])
    task = scheduler.next(AvailableWorker("w"), 2)
    assert task is not None
    stop.set()
    assert scheduler.next(AvailableWorker("x"), 2) is None
    assert not scheduler.over
    assert scheduler.done(task, answered(task.batch)) is not None
    assert scheduler.over
    assert scheduler.waiting == 100 - len(task.batch.seeds)


def test_a_million_cells_are_quick_to_add_and_none_twice() -> None:
    scheduler = Scheduler(FakeDurations(), clock=lambda: 0.0)
    portions = [Portion.of(point(10), [7, 3, 5]), Portion(point(20), np.arange(1_000_000))]
    assert scheduler.add(portions) == 1_000_003
    assert scheduler.add(portions) == 0


def test_nonsense_is_refused() -> None:
    with pytest.raises(UserError, match="max_rows 0"):
        Limits(max_rows=0)
    with pytest.raises(UserError, match="target_seconds 0"):
        Limits(target_seconds=0)
