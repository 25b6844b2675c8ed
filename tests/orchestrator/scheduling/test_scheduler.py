"""The scheduler on simulated workers: every cell answered once whatever happens, no cell blamed wrongly, no worker idle."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.portion import Portion
from orchestrator.evaluation.results import BatchFailure, ResourceUse
from orchestrator.scheduling.memory_limits import MemoryLimits
from orchestrator.scheduling.scheduler import DEATHS, MIN_ROWS, PROBE_ROWS, AvailableWorker, Limits, Scheduler
from tests.support.simulated_workers import FakeDurations, Simulation, answered, batch_duration, cell_counts, given_back, point
from world_models.errors import UserError

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
    assert not innocent or chance > 0  # three accidents in a row on a single cell are possible, and look like its fault
    assert len(innocent) <= 1
    assert {seed for seed in culprits if any(seed in portion.seeds for portion in portions)} <= failed
    assert all(1 <= len(task.batch.seeds) <= max_rows for task in simulation.handed)
    lasts = {record.cell_id: record for result in results for record in result.results}
    assert all((record.attempts or 0) >= 1 for record in lasts.values())
    assert scheduler.waiting == scheduler.in_flight == 0


@pytest.mark.parametrize("workers", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("rows", [1, 20, 200])
def test_no_worker_idles_at_the_end(workers: int, rows: int) -> None:
    portions = [Portion.of(point(10 * (i + 1)), range(rows)) for i in range(6)]
    scheduler = Scheduler(FakeDurations(), clock=lambda: 0.0)
    scheduler.add(portions)
    simulation = Simulation(scheduler, workers, batch_duration)
    simulation.run()
    total = sum(len(p) * p.point.horizon / 10 for p in portions)
    longest_row = 6.0
    # Greedy assignment of the most expensive first ends within a third of the longest indivisible piece (Graham, 1969).
    piece = max(longest_row, MIN_ROWS * 0.1)
    assert simulation.now <= total / workers + piece
    if rows == 200:
        assert simulation.now <= 1.04 * total / workers


def test_times_that_are_guessed_wrong_are_evened_out_at_the_tail() -> None:
    """Rows with the same estimate take from half of it to twice as long."""
    noise = random.Random(3)
    scheduler = Scheduler(FakeDurations(), clock=lambda: 0.0)
    portions = [Portion.of(point(10 * (i + 1)), range(200)) for i in range(6)]
    scheduler.add(portions)
    simulation = Simulation(scheduler, 4, lambda batch: batch_duration(batch) * noise.choice([0.5, 1.0, 2.0]))
    simulation.run()
    assert simulation.now <= 1.1 * sum(simulation.busy.values()) / 4


def test_the_most_expensive_cells_come_first() -> None:
    scheduler = Scheduler(FakeDurations(), clock=lambda: 0.0)
    scheduler.add([Portion.of(point(horizon), range(8)) for horizon in (10, 50, 30)])
    simulation = Simulation(scheduler, 1, batch_duration)
    simulation.run()
    horizons = [task.batch.point.horizon for task in simulation.handed]
    assert horizons == sorted(horizons, reverse=True)


def test_a_kind_that_was_never_measured_or_timed_starts_small_and_grows() -> None:
    scheduler = Scheduler(durations := FakeDurations(known=False), clock=lambda: 0.0)
    scheduler.add([Portion.of(point(), range(500))])
    available = AvailableWorker("w", memory=2**30)
    first = scheduler.next(available, 1)
    assert first is not None
    assert len(first.batch.seeds) <= PROBE_ROWS
    scheduler.done(first, answered(first.batch, ResourceUse(0.1, peak_bytes=1000)))
    durations.known = True
    second = scheduler.next(available, 1)
    assert second is not None
    assert 32 < len(second.batch.seeds) <= 64


def test_memory_decides_how_many_rows(tmp_path) -> None:
    memory_limits = MemoryLimits(tmp_path / "sizes.json")
    scheduler = Scheduler(FakeDurations(), Limits(1000), memory_limits, clock=lambda: 0.0)
    scheduler.add([Portion.of(point(), range(5000))])
    available = AvailableWorker("w", memory=100_000)
    first = scheduler.next(available, 1)
    assert first is not None
    scheduler.done(first, answered(first.batch, ResourceUse(0.1, peak_bytes=2000 * len(first.batch.seeds))))
    second = scheduler.next(available, 1)
    assert second is not None
    assert 30 <= len(second.batch.seeds) <= 40  # 80 % of 100 kB at 2 kB per row
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


def test_a_poison_cell_is_found_among_many_and_recorded_with_its_error() -> None:
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
