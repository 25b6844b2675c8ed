"""Batches of several points: planned as if separate, scheduled by kind and rank, charged by their model steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.spin import points, spinning
from orchestrator.artifacts.selection import NO_ARTIFACTS
from orchestrator.core.batch import Batch, Slice
from orchestrator.core.cell import Named
from orchestrator.core.mixing import kind_of, planner_settings
from orchestrator.core.portion import Portion
from orchestrator.driver.run_cells import run_cells
from orchestrator.evaluation.results import shares_of
from orchestrator.ledger.ledger import Ledger
from orchestrator.scheduling.memory_limits import MemoryLimits
from orchestrator.scheduling.scheduler import AvailableWorker, Limits, Scheduler
from orchestrator.testing import plane_evaluator, plane_point
from orchestrator.workers.backend import InlineBackend
from planners import full_settings
from tests.support.simulated_workers import FakeDurations, answered
from world_models.errors import UserError

A, B, C = plane_point(lr=0.2), plane_point(lr=0.05), plane_point(lr=0.2, iterations=7)


def test_points_of_one_kind_differ_in_what_rows_may_differ_in():
    assert kind_of(A) == kind_of(B) == kind_of(C)
    others = [
        plane_point(optimizer="gd"),
        plane_point(horizon=9),
        plane_point(model="plane_2"),
        plane_point(task={"speed": 0.2}),
        replace(A, mode="mpc:2"),
        replace(A, disagreement=0.1),
        replace(A, goal_cost="probe"),
        replace(A, history="grow"),
        replace(A, history="grow:1"),
    ]
    digests = [replace(other, model_digest="f" * 16) if other.model == "plane_2" else other for other in others]
    assert len({kind_of(point) for point in [A, *digests]}) == len(others) + 1


def test_a_planner_that_only_an_evaluator_knows_is_planned_and_never_mixed(tmp_path: Path):
    """The stand-in of `benchmarks.sweep_overhead` is such a planner."""
    one, other = points(2)
    assert kind_of(one) != kind_of(other)
    work = [Portion.of(point, range(2)) for point in (one, other)]
    backend = InlineBackend(make_evaluator=spinning)
    summary = run_cells(work, Ledger(tmp_path), backend, Limits(mixed=True), selection=NO_ARTIFACTS)
    assert (summary.computed, summary.failed) == (4, 0)


def test_null_is_not_a_number_that_can_be_mixed():
    base = full_settings("grasp")
    rows = [replace(A, planner=Named.of("grasp", {**base, "final_goal_weight": weight})) for weight in (None, 0.0, 1.0)]
    assert kind_of(rows[0]) != kind_of(rows[1]) == kind_of(rows[2])


def test_settings_of_unlike_points_are_refused():
    with pytest.raises(UserError, match=r"optimizer .* cannot differ"):
        planner_settings([A, plane_point(optimizer="gd")])


def test_a_mixed_batch_is_planned_as_its_points_are_separately():
    evaluator = plane_evaluator()
    mixed = Batch((Slice(A, (3, 4)), Slice(B, (4, 5)), Slice(C, (3,))))
    together = evaluator.evaluate(mixed)
    apart = [record for part in mixed.slices for record in evaluator.evaluate(Batch((part,))).results]
    for one, other in zip(together.results, apart, strict=True):
        assert (one.cell_id, one.point_id, one.planner_settings) == (other.cell_id, other.point_id, other.planner_settings)
        assert one.evaluations == other.evaluations
        assert one.actions == pytest.approx(other.actions, abs=1e-5)
        assert one.distance == pytest.approx(other.distance, abs=1e-4)


def test_seconds_of_a_mixture_are_shared_by_model_steps():
    evaluator = plane_evaluator()
    results = evaluator.evaluate(Batch((Slice(A, (0, 1)), Slice(C, (2,))))).results
    batch_seconds = results[0].batch_seconds
    assert sum(record.plan_seconds for record in results) == pytest.approx(batch_seconds)
    assert results[0].plan_seconds > results[2].plan_seconds
    steps = [record.evaluations for record in results]
    assert results[2].plan_seconds == pytest.approx(batch_seconds * steps[2] / sum(steps))
    of_one = evaluator.evaluate(Batch.of(A, (0, 1))).results
    assert of_one[0].plan_seconds == of_one[1].plan_seconds


def test_shares_without_steps_are_even():
    assert shares_of(Batch((Slice(A, (0,)), Slice(B, (0,)))), [0, None]) == [0.5, 0.5]


def test_a_mixed_batch_is_split_row_by_row():
    batch = Batch((Slice(A, (0, 1, 2)), Slice(B, (0, 1))))
    parts = batch.split(4)
    assert [cell for part in parts for cell in part.cells] == list(batch.cells)
    assert max(len(part.seeds) for part in parts) - min(len(part.seeds) for part in parts) <= 1


def batches_of(limits: Limits, portions: list[Portion]) -> list[Batch]:
    memory_limits = MemoryLimits()
    for portion in portions:
        memory_limits.measured(portion.point, "cpu", 64, None)
    scheduler = Scheduler(FakeDurations(seconds_of=lambda point: 0.5), limits, memory_limits)
    scheduler.add(portions)
    batches = []
    while (task := scheduler.next(AvailableWorker("w"), 1)) is not None:
        batches.append(task.batch)
        scheduler.done(task, answered(task.batch))
    assert scheduler.over
    return batches


def test_rows_of_one_kind_share_batches_only_where_asked():
    other = plane_point(optimizer="gd")
    portions = [Portion.of(A, range(5)), Portion.of(other, range(3)), Portion.of(B, range(5))]
    mixed = batches_of(Limits(max_rows=16, mixed=True), portions)
    apart = batches_of(Limits(max_rows=16), portions)
    for batches in (mixed, apart):
        cells = [cell.cell_id for batch in batches for cell in batch.cells]
        assert len(cells) == len(set(cells)) == 13
        assert all(len({kind_of(part.point) for part in batch.slices}) == 1 for batch in batches)
    assert all(len(batch.slices) == 1 for batch in apart)
    assert any({part.point for part in batch.slices} == {A, B} for batch in mixed)


def test_even_batches_of_a_point_are_of_one_size_whatever_is_left() -> None:
    portions = [Portion.of(A, range(48)), Portion.of(B, range(33)), Portion.of(C, range(16))]
    batches = batches_of(Limits(max_rows=16, even=True), portions)
    sizes = {one: [len(batch.seeds) for batch in batches if batch.point == one] for one in (A, B, C)}
    assert sizes == {A: [16, 16, 16], B: [11, 11, 11], C: [16]}
    with pytest.raises(UserError, match="both mixed and even"):
        Limits(mixed=True, even=True)


def test_lower_ranks_go_first_whatever_they_cost():
    portions = [Portion.of(A, range(4), rank=2), Portion.of(B, range(4), rank=1), Portion.of(C, range(4), rank=0)]
    batches = batches_of(Limits(max_rows=4), portions)
    order = [part.point for batch in batches for part in batch.slices]
    assert list(dict.fromkeys(order)) == [C, B, A]


def test_a_busy_worker_is_given_no_half_full_mixture():
    memory_limits = MemoryLimits()
    scheduler = Scheduler(FakeDurations(seconds_of=lambda point: 0.5), Limits(max_rows=8, mixed=True), memory_limits)
    scheduler.add([Portion.of(A, range(20))])
    first = scheduler.next(AvailableWorker("w"), 1)
    assert scheduler.next(AvailableWorker("w", in_flight=1), 1) is None, "the first of its kind says how many fit"
    memory_limits.measured(A, "cpu", 8, None)
    second = scheduler.next(AvailableWorker("w", in_flight=1), 1)
    assert first is not None
    assert second is not None, "a full one may wait at its worker"
    assert scheduler.next(AvailableWorker("v", in_flight=1), 2) is None
    assert scheduler.next(AvailableWorker("v"), 2) is not None


def test_no_worker_takes_more_than_a_fair_share_of_what_is_under_way():
    memory_limits = MemoryLimits()
    memory_limits.measured(A, "cpu", 64, None)
    scheduler = Scheduler(FakeDurations(seconds_of=lambda point: 0.1), Limits(max_rows=128, mixed=True), memory_limits)
    scheduler.add([Portion.of(A, range(8))])
    small = scheduler.next(AvailableWorker("w"), 1)
    assert small is not None
    scheduler.add([Portion.of(B, range(88))])
    first, none = scheduler.next(AvailableWorker("v"), 2), scheduler.next(AvailableWorker("v", in_flight=1), 2)
    assert first is not None
    assert none is None
    assert len(first.batch.seeds) == 44, "the worker that has 8 rows is soon back"
    scheduler.done(small, answered(small.batch))
    rest = scheduler.next(AvailableWorker("w"), 2)
    assert rest is not None
    assert len(rest.batch.seeds) == 44


def test_guesses_in_relative_units_are_forgotten_with_the_first_times():
    """A batch is not sized by an estimate that was not in seconds."""
    durations, memory_limits = FakeDurations(seconds_of=lambda point: 50.0, known=False), MemoryLimits()
    memory_limits.measured(A, "cpu", 64, None)
    scheduler = Scheduler(durations, Limits(max_rows=64, target_seconds=60, mixed=True), memory_limits, clock=lambda: 0.0)
    scheduler.add([Portion.of(A, range(40))])
    task = scheduler.next(AvailableWorker("w"), 4)
    assert task is not None
    scheduler.add([Portion.of(B, range(30))])

    def learn(result: object) -> None:
        durations.known, durations.seconds_of = True, lambda point: 0.1

    durations.add = learn
    scheduler.done(task, answered(task.batch))
    following = scheduler.next(AvailableWorker("w"), 4)
    assert following is not None
    assert len(following.batch.seeds) > 1


def test_rows_that_take_about_as_long_go_together():
    points = [plane_point(iterations=count) for count in (10, 500, 12, 450)]
    batches = batches_of(Limits(max_rows=8, mixed=True), [Portion.of(point, range(4)) for point in points])
    together = [{part.point.planner.as_dict()["iterations"] for part in batch.slices} for batch in batches]
    assert sorted(map(sorted, together)) == [[10, 12], [450, 500]]
