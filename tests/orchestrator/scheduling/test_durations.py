"""Durations of batches: exact where known, scaled from similar points elsewhere, with intervals of their stated coverage."""

import csv
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path

import pyarrow as pa
import pytest

from orchestrator.core.cell import Named, Point
from orchestrator.core.portion import Portion
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.records import SCHEMA, to_table
from orchestrator.scheduling.durations import COLUMNS, SPREAD_DAY, Z80, DurationModel, Estimate, rows_per_batch, spread_over
from orchestrator.testing import quick_result


def point(horizon: int = 10, task: str = "wall", model: str = "m", planner: str = "gd", **settings) -> Point:
    return Point(Named.of(task), model, model, Named.of(planner, settings), horizon)


def timed(point: Point, rows: int, batch_seconds: float, first: int = 0) -> BatchResult:
    records = quick_result(point, tuple(range(first, first + rows))).results
    return BatchResult(tuple(replace(r, status="completed", worker_seconds=batch_seconds / rows) for r in records))


def test_a_fixed_part_and_a_part_per_row_are_separated() -> None:
    durations = DurationModel()
    for rows in (4, 8, 16, 64):
        durations.add(timed(point(), rows, 2.0 + 0.5 * rows))
    for rows in (1, 8, 32, 128):
        assert durations.row_seconds(point(), rows) == pytest.approx(2.0 / rows + 0.5, rel=1e-6)
    assert durations.batch_seconds(point(), 32).seconds == pytest.approx(18.0)


def test_batches_of_one_size_say_nothing_about_other_sizes() -> None:
    durations = DurationModel()
    for _ in range(3):
        durations.add(timed(point(), 8, 4.0))
    assert durations.row_seconds(point(), 64) == pytest.approx(0.5)


def test_learning_from_the_ledger_is_learning_from_the_batches() -> None:
    live, ledger = DurationModel(), DurationModel()
    batches = [timed(point(10 * (i % 3 + 1), planner="gd"), 2 + i, 0.3 * (i + 1), 100 * i) for i in range(9)]
    for batch in batches:
        live.add(batch)
    records = [record for batch in batches for record in batch.results]
    # A record of an older version has planning seconds only, a failed one none.
    old = replace(records[0], worker_seconds=None, plan_seconds=records[0].worker_seconds)
    failed = quick_result(point(), (7,)).results[0]
    ledger.learn(to_table([old, *records[1:], failed]).select(list(COLUMNS)))
    for horizon in (10, 20, 30, 40):
        assert ledger.row_seconds(point(horizon), 5) == pytest.approx(live.row_seconds(point(horizon), 5))


def test_the_nearest_known_kind_is_scaled_by_steps() -> None:
    durations = DurationModel()
    assert not durations.timed(point())
    assert durations.row_seconds(point(20)) == 2 * durations.row_seconds(point(10))
    assert not durations.batch_seconds(point(), 8).known
    durations.add(timed(point(10), 8, 8.0))
    assert durations.row_seconds(point(30)) == pytest.approx(3.0)
    assert durations.timed(point(30, task="push_t", model="other"))
    assert not durations.timed(point(planner="cem"))
    durations.add(timed(point(10, task="push_t"), 8, 80.0))
    assert durations.row_seconds(point(20, task="push_t")) == pytest.approx(20.0)
    assert durations.row_seconds(replace(point(20), mode="mpc:10")) == pytest.approx(3.0)  # 20 and 10 steps are planned
    assert durations.unknown([Portion.of(point(planner="cem"), [0]), Portion.of(point(50), [0])]) == ["cem"]


def test_the_less_similar_the_timed_points_the_wider_the_interval() -> None:
    durations = DurationModel()
    durations.add(timed(point(10), 8, 8.0))
    widths = [
        durations.batch_seconds(other, 8).high / durations.batch_seconds(other, 8).low
        for other in (point(10), point(20), point(20, model="n"), point(20, task="push_t"))
    ]
    assert widths == sorted(widths)
    assert len(set(widths)) == 4


def test_intervals_hold_about_as_often_as_they_say() -> None:
    """Points of one planner whose speeds scatter: half of them are timed and the total of the others is estimated."""
    rng, held, rounds = random.Random(5), 0, 300
    points = [point(10, number=i) for i in range(8)]
    for _ in range(rounds):
        day = math.exp(rng.gauss(0, SPREAD_DAY))
        speeds = [math.exp(rng.gauss(0, 0.6)) for _ in points]
        durations = learnt(Measured("", points[i], 8, 8, speeds[i]) for i in range(6))
        estimate = durations.total([(points[i], 8, 8) for i in (6, 7)])
        held += estimate.low <= 8 * (speeds[6] + speeds[7]) * day <= estimate.high
    assert 0.72 <= held / rounds <= 0.88


def test_walls_are_shared_by_the_workers() -> None:
    durations = DurationModel()
    durations.add(timed(point(), 8, 8.0))
    wall = spread_over(durations.total([(point(), 100, 8)]), 4, 10.0)
    assert wall.seconds == pytest.approx(35.0)
    assert wall.low < wall.seconds < wall.high
    assert rows_per_batch(66, 64) == 33
    assert rows_per_batch(0, 64) == 1


GOLDEN = Path(__file__).parents[2] / "golden" / "timings.csv"
"""Batches of thirteen sweeps on one machine with 2 shared cores, on several days: planning seconds per row."""


@dataclass(frozen=True)
class Measured:
    """The durations of a batch that was really planned."""

    run: str
    point: Point
    size: int
    rows: int
    seconds: float


def measured() -> list[Measured]:
    found = []
    with GOLDEN.open() as lines:
        for row in csv.DictReader(lines):
            planner = Named.of(row["planner"], {"point": row["point_id"]})
            digest = row["model_digest"]
            of_batch = Point(Named.of(row["task"]), digest, digest, planner, int(row["horizon"]), row["mode"])
            found.append(Measured(row["run"], of_batch, int(row["batch_size"]), int(row["rows"]), float(row["seconds"])))
    return found


def learnt(batches: Iterable[Measured]) -> DurationModel:
    columns: dict[str, list] = {name: [] for name in COLUMNS}
    for batch in batches:
        point = batch.point
        names = point.point_id, point.task.name, point.model_digest, point.planner.name, point.mode, point.horizon
        for column, value in zip(columns.values(), (*names, None, batch.seconds, batch.size), strict=True):
            column += [value] * batch.rows
    durations = DurationModel()
    durations.learn(pa.table(columns, schema=pa.schema([SCHEMA.field(name) for name in COLUMNS])))
    return durations


def work(batches: Iterable[Measured]) -> list[tuple[Point, int, int]]:
    return [(batch.point, batch.rows, batch.size) for batch in batches]


def holds(estimate: Estimate, batches: Iterable[Measured]) -> bool:
    return estimate.low <= sum(batch.rows * batch.seconds for batch in batches) <= estimate.high


def test_intervals_hold_on_points_of_real_sweeps_that_were_not_timed() -> None:
    rng, batches = random.Random(1), measured()
    alone: list[bool] = []
    together: list[bool] = []
    for run in sorted({batch.run for batch in batches}):
        mine = [batch for batch in batches if batch.run == run]
        points = sorted({batch.point.point_id for batch in mine})
        for _ in range(20 if len(points) >= 6 else 0):
            known = set(rng.sample(points, len(points) // 2))
            durations = learnt(batch for batch in mine if batch.point.point_id in known)
            unseen = [b for b in mine if b.point.point_id not in known and durations.timed(b.point)]
            for point in {batch.point.point_id for batch in unseen}:
                of_point = [batch for batch in unseen if batch.point.point_id == point]
                alone.append(holds(durations.total(work(of_point), today=True), of_point))
            if unseen:
                together.append(holds(durations.total(work(unseen), today=True), unseen))
    assert len(alone) > 500
    assert 0.7 <= sum(alone) / len(alone) <= 0.9
    assert sum(together) / len(together) >= 0.8


def test_intervals_hold_from_one_day_to_another() -> None:
    batches = measured()
    runs = {run: [batch for batch in batches if batch.run == run] for run in sorted({batch.run for batch in batches})}
    held = []
    for before, after in permutations(runs, 2):
        durations, known = learnt(runs[before]), {batch.point.point_id for batch in runs[before]}
        again = [batch for batch in runs[after] if batch.point.point_id in known]
        if len({batch.point.point_id for batch in again}) >= 5:
            held.append(holds(durations.total(work(again)), again))
    assert len(held) >= 15
    assert 0.6 <= sum(held) / len(held) <= 1.0


def test_more_points_of_different_kinds_narrow_a_total_but_not_below_the_day() -> None:
    durations = DurationModel()
    points = [point(10, task=f"task {i}") for i in range(50)]
    for each in points:
        durations.add(timed(each, 8, 8.0))
    one, all_of_them = durations.total([(points[0], 8, 8)]), durations.total([(each, 8, 8) for each in points])
    assert one.high / one.low > all_of_them.high / all_of_them.low > math.exp(2 * Z80 * SPREAD_DAY) * 0.999
    today = durations.total([(each, 8, 8) for each in points], today=True)
    assert today.seconds == all_of_them.seconds == pytest.approx(400.0)
    assert today.high / today.low < 1.5


def test_batches_that_scatter_widen_the_interval_of_their_point() -> None:
    calm, wild = DurationModel(), DurationModel()
    for i in range(12):
        calm.add(timed(point(), 8, 8.0, 8 * i))
        wild.add(timed(point(), 8, 8.0 * 3 ** (i % 3 - 1), 8 * i))
    assert wild.batch_seconds(point(), 8).high / wild.batch_seconds(point(), 8).low > 3.0
    assert calm.total([(point(), 8, 8)], today=True).high / calm.total([(point(), 8, 8)], today=True).low < 2.0
