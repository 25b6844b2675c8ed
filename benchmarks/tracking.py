"""Cost of tracking 500 points with 64 seeds each in SQLite and in an MLflow server over PostgreSQL.

First a real sweep is planned without tracking: the default one's 18 points with 64 seeds each, on 2 Ray actors. Its wall time
per cell gives `sweep_seconds`, the time of a sweep of 500 x 64 such cells on this machine. Its records and pictures, under
other settings, become 500 points, each in its own part of the ledger. Then each store tracks them as when points finish far
apart: each alone, through the outbox, and at the end the sweep's own page, for which the ledger is read.

`seconds` is the time that the tracking thread would be busy, waiting for answers included; `share` is that over
`sweep_seconds`; `cpu_seconds` is the processor time of this process. The server, with 2 workers, runs on the same machine. The
last line is JSON.

    python -m benchmarks.tracking [--points 500] [--seeds 64] [--stores sqlite,postgresql]
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.filled import Filled, filled, track
from benchmarks.services import MLflowServer, PostgreSQL
from orchestrator.core.cell import Named, Point
from orchestrator.core.portion import Portion, count
from orchestrator.driver.run_cells import Hooks, run_cells
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import CellResult, from_table
from orchestrator.tracking.content.sweep_info import SweepInfo
from orchestrator.tracking.tracking_store import TrackingStore
from orchestrator.workers.ray_backend import RayBackend, RayConfig
from sweeps.config.jobs import read_job
from sweeps.config.schema.configs import SweepConfig

ACTORS = 2
INFO = SweepInfo("benchmark", "seeds: 64\n", "grasp sweep", "| task | success |")


@dataclass(frozen=True)
class Planned:
    """The real sweep."""

    portions: Sequence[Portion]
    ledger: Ledger
    artifacts: Path
    seconds_per_cell: float
    """Wall time of the sweep over its number of cells."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan a sweep, fill the ledger, track it in each store and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=64)
    parser.add_argument("--stores", default="sqlite,postgresql", help="the stores, separated by commas")
    args = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="grasp-tracking-"))
    try:
        planned = plan(folder / "planned", args.seeds)
        many = fill(planned, folder / "filled", args.points)
        sweep_seconds = planned.seconds_per_cell * count(many.portions)
        print(f"{planned.seconds_per_cell:.3f} s per cell: {count(many.portions)} cells take {sweep_seconds:.0f} s", flush=True)
        figures = {}
        for name in args.stores.split(","):
            with store(name, folder / name) as tracking_store:
                tracked = track(many, tracking_store, folder / name / "outbox", INFO)
            requests = tracked.tracker.requests
            figures[name] = {"seconds": tracked.seconds, "requests": requests, "cpu_seconds": tracked.cpu_seconds}
            figures[name]["share"] = round(figures[name]["seconds"] / sweep_seconds, 4)
            print(f"{name}: {figures[name]}", flush=True)
        share = max(figure["share"] for figure in figures.values())
        conditions = {"points": args.points, "seeds": args.seeds, "actors": ACTORS}
        print(json.dumps({**figures, "share": share, "sweep_seconds": round(sweep_seconds), **conditions}))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def plan(folder: Path, seeds: int) -> Planned:
    """Plan the default sweep without tracking, on actors that have already loaded what they need."""
    grid = read_job(SweepConfig, [f"seeds={seeds}", f"output={folder}"], None).grid
    ledger, artifacts = Ledger(folder / "ledger"), folder / "artifacts"
    portions, done = grid.portions(), 0

    def said(result: BatchResult) -> None:
        nonlocal done
        done += len(result.results)
        print(f"planned {done} of {count(portions)} cells", flush=True)

    with RayBackend(RayConfig(num_workers=ACTORS)) as backend:
        warm = [Portion.of(portion.point, [10_000]) for portion in portions[::6]]
        run_cells(warm, Ledger(folder / "warm"), backend)
        began = time.perf_counter()
        run_cells(portions, ledger, backend, hooks=Hooks(on_result=said), artifacts=artifacts)
        seconds = time.perf_counter() - began
    return Planned(portions, ledger, artifacts, seconds / count(portions))


def fill(planned: Planned, folder: Path, points: int) -> Filled:
    """A ledger of the planned records, repeated as points that differ in `finish_cost`."""
    records: dict[str, list[CellResult]] = {}
    for record in from_table(planned.ledger.table()):
        records.setdefault(record.point_id, []).append(record)

    def parts() -> Iterator[tuple[Point, list[CellResult], Path]]:
        for number in range(points):
            source = planned.portions[number % len(planned.portions)].point
            point = _varied(source, number)
            own = [_as_of(point, record) for record in records[source.point_id]]
            yield point, own, planned.artifacts / source.point_id

    return filled(parts(), folder)


def _varied(point: Point, number: int) -> Point:
    settings = {**point.planner.as_dict(), "finish_cost": 1e-9 * (1 + number)}
    return replace(point, planner=Named.of(point.planner.name, settings))


def _as_of(point: Point, record: CellResult) -> CellResult:
    settings = json.dumps(point.planner.as_dict())
    cell_id = point.cell(record.seed).cell_id
    return replace(record, point_id=point.point_id, cell_id=cell_id, planner_settings=settings)


@contextmanager
def store(name: str, folder: Path) -> Iterator[TrackingStore]:
    """A new store of the kind `sqlite` or `postgresql`."""
    folder.mkdir(parents=True)
    if name == "sqlite":
        yield TrackingStore(f"sqlite:///{folder}/mlflow.db", folder / "mlartifacts")
        return
    with PostgreSQL() as database, MLflowServer(database.uri, folder / "server") as server:
        yield TrackingStore(server.uri, folder / "unused")


if __name__ == "__main__":
    main()
