"""Cost of orchestration: the same cells on our pool, on ray.util.ActorPool, on Ray Tune and as one process per cell.

`python -m benchmarks.sweep_overhead` plans 2,000 cells (20 points x 100 seeds) with a stand-in planner that spins 50 ms per
cell however cells are batched, so that only the orchestration differs: 100 s of planning on 2 workers. Each side does
everything that a sweep needs: problems, simulator, and a ledger in which a batch, or a cell, is durable before it counts.

- ours: `run_cells` on the Ray backend, with a picture and a gif of each point's worst cell (the other sides draw nothing).
- actor_pool: `ray.util.ActorPool` over 2 actors with the same evaluator, one cell per call, its record appended to a ledger.
- ray_tune: one trial per cell, 2 at a time, with one actor per trial, which is Tune's default. Measured on 100 cells and scaled
  to all.
- ray_tune_reused: with `reuse_actors` and a world model that stays loaded, which is the best that Tune can do; all cells.
- process_per_cell: as an array of jobs does it, one process per cell, which imports, loads the world model, plans and writes; 2
  at a time, measured on 20 cells and scaled to all.

The last line is JSON: `efficiency` (planning seconds over wall seconds x actors), `overhead_ms_per_cell` (actors' time that was
not planning), and our wall time over each of the others'. Wall times begin when actors are up and have planned once, and ours
have drawn once (a worker's first picture imports pandas); the start of a trial or of a process is part of its cost.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import ray
from ray import tune
from ray.util import ActorPool

from benchmarks.spin import CELLS_PER_POINT, SECONDS, one_cell, points, spinning
from orchestrator.artifacts.selection import ArtifactSelection
from orchestrator.core.cell import Point
from orchestrator.core.portion import Portion
from orchestrator.driver.run_cells import run_cells
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger
from orchestrator.workers.ray_backend import RayBackend, RayConfig

ACTORS = 2


class OneByOne:
    """A user's own actor: the same evaluator, one cell per call."""

    def __init__(self) -> None:
        self._evaluator = spinning("cpu")

    def evaluate(self, cell: tuple[Point, int]) -> BatchResult:
        """The result of one cell."""
        return one_cell(self._evaluator, *cell)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all sides and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=2000, help="cells of our side and of ActorPool's (default 2000)")
    parser.add_argument("--tune-trials", type=int, default=100, help="trials with an actor each (default 100)")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    cells = [(point, seed) for point in points(options.cells // CELLS_PER_POINT) for seed in range(CELLS_PER_POINT)]
    planning = SECONDS * len(cells)
    say(
        f"{len(cells)} cells of {SECONDS * 1000:g} ms on {ACTORS} workers: {planning / ACTORS:.1f} s if orchestration were free"
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ours = timed("ours", lambda: run_ours(root / "ours", cells))
        pool = timed("ray.util.ActorPool", lambda: run_actor_pool(root / "pool", cells))
        reused = timed("Ray Tune with reused actors", lambda: run_tune(root / "reused", cells, reuse=True))
        trials = min(options.tune_trials, len(cells))
        tuned = timed(f"Ray Tune, {trials} trials", lambda: run_tune(root / "tune", cells[:trials])) * len(cells) / trials
        few = cells[:: len(cells) // 20][:20]
        alone = timed("one process per cell, 20 cells", lambda: run_processes(root / "alone", few)) * len(cells) / len(few)
    say(
        f"for {len(cells)} cells: Ray Tune {tuned:.0f} s (scaled from {trials}), "
        f"one process per cell {alone:.0f} s (scaled from 20)"
    )
    found = {
        "efficiency": round(planning / (ours * ACTORS), 4),
        "overhead_ms_per_cell": round(1000 * (ours * ACTORS - planning) / len(cells), 3),
        "vs_actor_pool": round(ours / pool, 3),
        "vs_ray_tune": round(ours / tuned, 4),
        "vs_ray_tune_reused": round(ours / reused, 4),
        "vs_process_per_cell": round(ours / alone, 4),
        "cells": len(cells),
        "ours_s": round(ours, 2),
        "actor_pool_s": round(pool, 2),
        f"ray_tune_s_scaled_from_{trials}": round(tuned, 1),
        "ray_tune_reused_s": round(reused, 1),
        "process_per_cell_s_scaled_from_20": round(alone, 1),
    }
    print(json.dumps(found))


def run_ours(folder: Path, cells: Sequence[tuple[Point, int]]) -> float:
    """Our wall time, from actors that are up to the last record on disk."""
    seeds = np.arange(CELLS_PER_POINT)
    portions = [Portion(point, seeds) for point in dict.fromkeys(point for point, _ in cells)]
    with RayBackend(RayConfig(num_workers=ACTORS), spinning) as backend:
        warm = [Portion(point, seeds[:4]) for point in points(len(portions) + ACTORS)[-ACTORS:]]
        drawn = ArtifactSelection(("worst",), video=False)
        run_cells(warm, Ledger(folder / "warm"), backend, artifacts=folder / "warm-artifacts", selection=drawn)
        began = time.perf_counter()
        summary = run_cells(portions, Ledger(folder / "ledger"), backend, artifacts=folder / "artifacts", selection=drawn)
        wall = time.perf_counter() - began
    assert (summary.computed, summary.failed) == (len(cells), 0), summary
    return wall


def run_actor_pool(folder: Path, cells: list[tuple[Point, int]]) -> float:
    """Wall time with `ray.util.ActorPool`."""
    with local_ray():
        remote = ray.remote(OneByOne)
        actors = [remote.options(num_cpus=1).remote() for _ in range(ACTORS)]
        pool = ActorPool(actors)
        list(pool.map(lambda actor, cell: actor.evaluate.remote(cell), cells[:ACTORS]))
        ledger = Ledger(folder)
        with ledger.writer():
            began = time.perf_counter()
            for result in cast(
                Iterator[BatchResult], pool.map_unordered(lambda actor, cell: actor.evaluate.remote(cell), cells)
            ):
                ledger.append(result.results)
            wall = time.perf_counter() - began
    assert ledger.table(columns=["cell_id"]).num_rows == len(cells)
    return wall


def run_tune(folder: Path, cells: Sequence[tuple[Point, int]], reuse: bool = False) -> float:
    """Wall time with Ray Tune, one trial per cell."""
    kept: dict[str, object] = {}

    def trial(config: dict[str, int]) -> dict[str, float]:
        """Plan the trial's cell and write it to a ledger of its own."""
        # In a reused process the world model stays loaded.
        evaluator = kept.setdefault("evaluator", spinning("cpu"))
        point, seed = cells[config["cell"]]
        (record,) = one_cell(evaluator, point, seed).results  # pyright: ignore[reportArgumentType]
        ledger = Ledger(folder / "ledgers" / str(config["cell"]))
        with ledger.writer():
            ledger.append([record])
        return {"success": float(record.success)}

    with local_ray():
        os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
        tuner = tune.Tuner(
            tune.with_resources(trial, {"cpu": 1}),
            param_space={"cell": tune.grid_search(list(range(len(cells))))},
            tune_config=tune.TuneConfig(max_concurrent_trials=ACTORS, reuse_actors=reuse),
            run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
        )
        began = time.perf_counter()
        results = tuner.fit()
        wall = time.perf_counter() - began
    assert len(results) == len(cells)
    assert not results.errors
    return wall


def run_processes(folder: Path, cells: Sequence[tuple[Point, int]]) -> float:
    """Wall time with one process per cell, two at a time."""
    waiting = [
        [sys.executable, "-m", "benchmarks.spin", str(dict(p.planner.settings)["number"]), str(s), str(folder)]
        for p, s in cells
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    running: list[subprocess.Popen[bytes]] = []
    while waiting or running:
        while waiting and len(running) < ACTORS:
            running.append(subprocess.Popen(waiting.pop(), env=environment))
        running[0].wait()
        assert not any(process.returncode for process in running)
        running = [process for process in running if process.poll() is None]
    wall = time.perf_counter() - began
    assert len(list(folder.iterdir())) == len(cells)
    return wall


class local_ray:  # noqa: N801
    """A Ray cluster on this machine with the settings of our own."""

    def __enter__(self) -> None:
        os.environ |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_TRAIN_V2_ENABLED": "0"}
        path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        ray.init("local", num_cpus=ACTORS, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": path}}, **quiet)

    def __exit__(self, *error: object) -> None:
        ray.shutdown()


def timed(name: str, run: Callable[[], float]) -> float:
    """Print and return the seconds that `run` returns."""
    say(f"{name} ...")
    seconds = run()
    say(f"  {seconds:.2f} s")
    return seconds


def say(text: str) -> None:
    """Print a line of progress at once."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
