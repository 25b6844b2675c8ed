"""Cost of reviewing a sweep of 1,000 points with 64 seeds each, in MLflow over SQLite and in `grasp report`.

`log_s` is the time to track all points, each alone, and the sweep in a fresh store; `search_runs_s` that of one search for all
of the sweep's children; `report_s` that of `grasp report`. The results are made up, so that nothing has to be planned.
`artifact_share` is the workers' time for artifacts over their time for planning, in a small real sweep of the default tasks and
planners. The last line is JSON.

    python -m benchmarks.review [--points 1000] [--seeds 64] [--planned-seeds 16]
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.filled import filled, made_up, many_points, sweep_info, track
from orchestrator.driver.run_cells import run_cells
from orchestrator.ledger.ledger import Ledger
from orchestrator.tracking.mlflow_store import MlflowStore
from orchestrator.tracking.tracking_store import TrackingStore
from orchestrator.workers.backend import InlineBackend
from sweeps.analysis.point_cells import records_of
from sweeps.analysis.rows import summarise
from sweeps.config.jobs import read_job
from sweeps.config.outputs import Outputs
from sweeps.config.schema.configs import SweepConfig
from sweeps.reports.tables import headline
from sweeps.running.report import report


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan a small sweep, make up a large one, track, search and report it; print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=64)
    parser.add_argument("--planned-seeds", type=int, default=16, help="seeds of the real sweep behind artifact_share")
    args = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="grasp-review-"))
    try:
        picture = folder / "planned"
        share = artifact_share(picture, args.planned_seeds)
        print(f"artifacts take {share:.3f} of the planning time", flush=True)
        figures = review(folder / "review", args.points, args.seeds, picture)
        conditions = {"points": args.points, "seeds": args.seeds}
        print(json.dumps({**figures, "artifact_share": round(share, 4), **conditions}))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def review(root: Path, points: int, seeds: int, planned: Path) -> dict[str, float]:
    """Seconds to track, to search and to report; each point has the pictures of a planned one."""
    grid, outputs = many_points(points, seeds), Outputs(root)
    outputs.prepare()
    outputs.save(grid, "name: review\n")
    picture = next((planned / "artifacts").iterdir(), None)
    parts = ((entry.point, made_up(entry.point, grid.seeds, n), picture) for n, entry in enumerate(grid.entries))
    ledger = filled(parts, root)
    print(f"made up {points * seeds} cells", flush=True)
    began = time.perf_counter()
    report(grid.name, outputs, Console(file=io.StringIO()))
    reporting = time.perf_counter() - began
    print(f"report in {reporting:.1f} s", flush=True)
    tracking_store = TrackingStore(outputs.tracking_uri, outputs.tracking_artifacts)
    page = headline(summarise(grid, records_of(grid, ledger.ledger)))
    logging = track(ledger, tracking_store, outputs.outbox / "review", sweep_info(grid, "name: review\n", page)).seconds
    searching = search(tracking_store, points)
    return {"log_s": logging, "search_runs_s": round(searching, 2), "report_s": round(reporting, 1)}


def search(tracking_store: TrackingStore, points: int) -> float:
    """Seconds of one search for a sweep's children by a client that has used the store before."""
    store = MlflowStore(tracking_store)
    (parent,) = store.runs("tags.`grasp.kind` = 'sweep'")
    began = time.perf_counter()
    found = list(store.runs(f"tags.`mlflow.parentRunId` = '{parent.run_id}'"))
    seconds = time.perf_counter() - began
    assert len(found) == points
    return seconds


def artifact_share(folder: Path, seeds: int) -> float:
    """Time of drawing over that of planning in the default sweep with `seeds` seeds."""
    job = read_job(SweepConfig, [f"seeds={seeds}", f"output={folder}"], None)
    ledger, selection = Ledger(folder / "ledger"), job.config.artifacts.selection
    done = run_cells(job.grid.portions(), ledger, InlineBackend(), artifacts=folder / "artifacts", selection=selection)
    print(
        f"drew {done.drawn} cells in {done.drawing_seconds:.1f} s, after {done.planning_seconds:.1f} s of planning", flush=True
    )
    return done.artifact_share


if __name__ == "__main__":
    main()
