"""Ledgers of many points, varied from planned ones or made up, and their tracking as a sweep does it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from orchestrator.core.batch import Batch
from orchestrator.core.cell import Point
from orchestrator.core.portion import Portion
from orchestrator.core.provenance import Provenance
from orchestrator.evaluation.results import failed_batch
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import CellResult
from orchestrator.tracking.content.sweep_info import CellSet, SweepInfo
from orchestrator.tracking.outbox import Outbox, PointsRecord, SweepRecord
from orchestrator.tracking.relay import OutboxRelay
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.tracking_store import TrackingStore
from sweeps.config.grid import Grid
from sweeps.config.jobs import read_job
from sweeps.config.schema.configs import SweepConfig
from sweeps.running.tracking import labels_of

PLANNERS = ("grasp", "cem", "gd", "icem", "mppi")
_SKILL = {"grasp": 1.0, "icem": 0.6, "cem": 0.3, "mppi": 0.1, "gd": -0.4}
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Filled:
    """A ledger of many points."""

    portions: Sequence[Portion]
    records: Sequence[Sequence[CellResult]]
    """The records of each portion."""
    ledger: Ledger
    artifacts: Path


def filled(parts: Iterable[tuple[Point, Sequence[CellResult], Path | None]], folder: Path) -> Filled:
    """A ledger with one part per point; a point's pictures are copied from its folder where one is given."""
    ledger, artifacts = Ledger(folder / "ledger"), folder / "artifacts"
    portions, made = [], []
    with ledger.writer():
        for point, records, pictures in parts:
            ledger.append(records)
            made.append(records)
            portions.append(Portion.of(point, [record.seed for record in records]))
            if pictures is not None:
                shutil.copytree(pictures, artifacts / point.point_id)
    return Filled(portions, made, ledger, artifacts)


def many_points(points: int, seeds: int) -> Grid:
    """The default sweep's tasks under five planners, at as many horizons as needed; the horizons may not be feasible."""
    words = [f"planner=[{','.join(PLANNERS)}]", "horizons=[25]", f"seeds={seeds}", "name=review"]
    base = read_job(SweepConfig, words, None).grid
    rounds = -(-points // len(base.entries))
    horizons = 10 + 2 * np.arange(rounds)
    entries = [replace(e, point=replace(e.point, horizon=int(h))) for h in horizons for e in base.entries]
    return replace(base, entries=tuple(entries[:points]))


def made_up(point: Point, seeds: Sequence[int], number: int = 0) -> list[CellResult]:
    """Made-up results of one batch: success falls with the horizon and depends on the planner."""
    draw = np.random.default_rng([number, point.horizon])
    chance = 1 / (1 + np.exp(point.horizon / 40 - 1 - _SKILL.get(point.planner.name, 0.0)))
    seconds = 0.002 * point.horizon * len(seeds) * draw.uniform(0.8, 1.2)
    blank = failed_batch(Batch.of(point, seeds), "", Provenance("cpu", 1, "nowhere", "0", "{}")).results
    difficulty, luck = (draw.random(len(seeds)) for _ in range(2))
    finished = _BEGAN + timedelta(seconds=10.0 * number)
    return [
        replace(
            record,
            problem_kind="made up",
            status="completed",
            error=None,
            success=bool(hard < chance),
            distance=float(20 * hard * (1.5 if hard >= chance else 0.2)),
            start_distance=100.0,
            predicted_cost=float(hard),
            last_cost=float(hard),
            model_success=bool(hard < chance + 0.1 * lucky),
            model_distance=float(20 * hard * lucky),
            steps_to_success=point.horizon - 1 if hard < chance else None,
            plan_seconds=seconds / len(seeds),
            batch_seconds=seconds,
            worker_seconds=seconds / len(seeds),
            evaluations=1000,
            actions=(0.0,) * (2 * point.horizon),
            finished_at=finished,
        )
        for record, hard, lucky in zip(blank, difficulty, luck, strict=True)
    ]


def sweep_info(grid: Grid, config_text: str, description: str) -> SweepInfo:
    """The description of a sweep that was not planned."""
    return SweepInfo(grid.name, config_text, f"grasp sweep name={grid.name}", description, labels=labels_of(grid))


@dataclass(frozen=True)
class TrackingTime:
    """Time that tracking took."""

    tracker: Tracker
    seconds: float
    """Wall time, waiting for answers included."""
    cpu_seconds: float
    """Processor time of this process."""


def track(
    filled: Filled, tracking_store: TrackingStore, folder: Path, info: SweepInfo, figures: Sequence[Path] = ()
) -> TrackingTime:
    """Track all points one after the other, and the sweep, as happens when points finish far apart."""
    tracker = Tracker(tracking_store)
    relay = OutboxRelay(Outbox(folder), tracker, filled.ledger, filled.artifacts)
    everything = CellSet.of(filled.portions)
    tracker.open()  # imports MLflow and makes the tables: in a sweep, during the first planning
    busy, cpu = time.perf_counter(), time.process_time()
    relay.outbox.add(SweepRecord(info, everything, ended=False))
    while relay.deliver_next(lambda record: False):
        pass
    for number, (portion, records) in enumerate(zip(filled.portions, filled.records, strict=True), 1):
        relay.recent.add(records)
        point_id = portion.point.point_id
        record = PointsRecord(info.name, everything.restricted_to([point_id]), info.labels_of([point_id]))
        relay.outbox.add(record)
        relay.deliver_next(lambda record: False)
        if number % 100 == 0:
            print(f"tracked {number} points in {tracking_store.kind} in {time.perf_counter() - busy:.1f} s", flush=True)
    drawn = tuple(str(figure) for figure in figures)
    relay.outbox.add(SweepRecord(info, everything, ended=True, figures=drawn))
    relay.deliver_next(lambda record: False)
    seconds, cpu = time.perf_counter() - busy, time.process_time() - cpu
    assert tracker.points == len(filled.portions)
    assert not relay.refused
    return TrackingTime(tracker, round(seconds, 1), round(cpu, 1))
