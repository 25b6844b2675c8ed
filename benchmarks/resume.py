"""Cost of resuming a large sweep: a ledger of 1,000,000 cells in 2,000 parts, before and after its parts are merged.

`python -m benchmarks.resume` writes records of a real grid (2,000 points of the wall x 500 seeds, on average 100 numbers of
actions per cell) into a temporary folder, then measures in fresh processes:

- find_missing: reading which cells are recorded and subtracting them from the grid's; `find_missing_s`, without imports.
- report: `grasp report` as a user types it; `report_s`, from the start of the process to its end.
- start: `grasp sweep` of 1,000,000 cells of which 1,000 are missing: composing, expanding, checking, looking them up in the
  ledger; `start_s`, from the start of the process until a worker has the first batch.

The last line is JSON; `peak_mb` is the largest of these processes. Figures after merging end in `_merged`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import NoReturn
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import yaml

from orchestrator.core.cell import Point, canonical
from orchestrator.core.portion import count, lacking
from orchestrator.evaluation.curves import COST_SAMPLES, MOST_DISTANCES
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.parts import encode, name_of
from orchestrator.ledger.records import SCHEMA
from sweeps.cli.main import main as grasp
from sweeps.config.jobs import Job, read_job
from sweeps.config.outputs import Outputs
from sweeps.config.schema.configs import SweepConfig

PLANNERS, HORIZONS, SEEDS = 100, tuple(range(12, 90, 4)), 500
FRESH = 2
"""Points of the sweep `start` without any cell in the ledger."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Build, measure, merge and measure again; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planners", type=int, default=PLANNERS, help="planners of the grid (default 100), x 20 horizons")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of the grid (default 500)")
    parser.add_argument("--folder", type=Path, help="where to put the ledger (default: a temporary folder)")
    parser.add_argument("--phase", choices=sorted(PHASES), help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.phase:
        print(json.dumps(PHASES[args.phase](args.folder)), flush=True)
        os._exit(0)  # without waiting for the threads of a sweep that was cut off
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        measure(Path(folder), args.planners, args.seeds)


def measure(folder: Path, planners: int, seeds: int) -> None:
    """Print the seconds of every phase before and after merging."""
    write_configs(folder, planners, seeds)
    began = time.perf_counter()
    job = load_job(folder, "million")
    build(job, folder)
    ledger = Ledger(job.outputs.ledger)
    cells = len(job.grid.entries) * seeds
    took = time.perf_counter() - began
    print(f"{cells} cells in {len(job.grid.entries)} parts, {size_mb(folder):.0f} MB, built in {took:.0f} s")
    before = all_phases(folder, "")
    began = time.perf_counter()
    with ledger.writer():
        ledger.compact()
    merged_in, parts = time.perf_counter() - began, len(list(Path(ledger.root).glob("*.parquet")))
    print(f"merged into {parts} parts, {size_mb(folder):.0f} MB, in {merged_in:.1f} s")
    after = all_phases(folder, "_merged")
    print(json.dumps({"cells": cells, "parts": len(job.grid.entries), **before, **after, "merging_s": round(merged_in, 1)}))


def all_phases(folder: Path, suffix: str) -> dict[str, float]:
    """Seconds of each phase, and the megabytes of the largest process."""
    result, peaks = {}, []
    for name, phase in (("find_missing_s", "find"), ("report_s", "report"), ("start_s", "start")):
        command = [sys.executable, "-m", "benchmarks.resume", "--phase", phase, "--folder", str(folder)]
        environment = {**os.environ, "BENCHMARK_STARTED": str(time.time())}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
        said = json.loads(done.stdout.splitlines()[-1])
        result[f"{name}{suffix}"] = round(said["seconds"], 2)
        peaks.append(said["peak_mb"])
        print(f"  {phase:10}{said['seconds']:6.2f} s{said['cpu_s']:8.2f} s of CPU time{said['peak_mb']:8.0f} MB")
    return {**result, f"peak_mb{suffix}": round(max(peaks))}


def phase_find(folder: Path) -> dict[str, float]:
    """Seconds to find that no cell of the grid is missing."""
    grid = Outputs(folder / "outputs").load("million")
    began = time.perf_counter()
    missing = lacking(grid.portions(), Ledger(folder / "outputs" / "ledger").finished_seeds())
    seconds = time.perf_counter() - began
    assert count(missing) == 0, f"{count(missing)} cells are missing"
    return {"seconds": seconds, **_used()}


class PlanningStarted(BaseException):
    """Raised when the first batch reaches a worker."""

    def __init__(self, *batch: object) -> None:
        self.seconds = _since_start()
        super().__init__(*batch)

    @staticmethod
    def raised(*batch: object) -> NoReturn:
        """Stand in for a worker's planning."""
        raise PlanningStarted(*batch)


def phase_start(folder: Path) -> dict[str, float]:
    """Seconds of `grasp sweep` from the start of this process until a worker has its first batch."""
    words = ["sweep", "sweep=start", "backend=inline", f"output={folder / 'outputs'}", "--conf", str(folder / "conf")]
    with redirect_stdout(io.StringIO()) as printed, patch("orchestrator.workers.backend.attempt", PlanningStarted.raised):
        try:
            grasp(words)
        except PlanningStarted as started:
            said = printed.getvalue()
            assert f"{FRESH * len(Outputs(folder / 'outputs').load('start').seeds)} to plan" in said, said[-500:]
            return {"seconds": started.seconds, **_used()}
    raise AssertionError("nothing was missing")


def phase_report(folder: Path) -> dict[str, float]:
    """Seconds of `grasp report` from the start of this process."""
    with redirect_stdout(io.StringIO()) as printed:
        code = grasp(["report", "million", f"output={folder / 'outputs'}"])
    assert code == 0
    assert "sweep million" in printed.getvalue()
    return {"seconds": _since_start(), **_used()}


PHASES: dict[str, Callable[[Path], dict[str, float]]] = {"find": phase_find, "report": phase_report, "start": phase_start}


def load_job(folder: Path, sweep: str) -> Job:
    """One of the two sweeps, as `grasp sweep` composes, expands and checks it."""
    return read_job(SweepConfig, [f"sweep={sweep}", f"output={folder / 'outputs'}"], folder / "conf")


def write_configs(folder: Path, planners: int, seeds: int) -> None:
    """Write the sweeps `million` and `start`; in `start` the last planner has other settings at some horizons."""
    for name in ("million", "start"):
        table = {
            f"plan_{k:03d}": {"name": "random_shooting", "settings": {"samples": k + 1}, "overrides": []}
            for k in range(planners)
        }
        if name == "start":
            fresh = [{"horizon": horizon, "settings": {"samples": 10000}} for horizon in HORIZONS[-FRESH:]]
            table[f"plan_{planners - 1:03d}"]["overrides"] = fresh
        values = {
            "defaults": [{"override /task": ["wall"]}, {"override /planner": ["random_shooting"]}],
            "name": name,
            "horizons": list(HORIZONS),
            "seeds": {"start": 0, "count": seeds},
            # The group's own planner gives way to those above.
            "planners": {**table, "random_shooting": {"name": None}},
        }
        file = folder / "conf" / "sweep" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("# @package _global_\n" + yaml.safe_dump(values, sort_keys=False))


def build(job: Job, folder: Path) -> None:
    """Save the sweep and write its ledger, one part per point."""
    job.outputs.prepare()
    job.outputs.save(job.grid, job.config_text)
    root = Path(job.outputs.ledger)
    root.mkdir()
    seeds = np.array(job.grid.seeds, np.int64)

    def write(numbered: tuple[int, Point]) -> None:
        number, point = numbered
        data = encode(records(point, seeds, np.random.default_rng(number)))
        (root / name_of(data, number)).write_bytes(data)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(write, enumerate(entry.point for entry in job.grid.entries)):
            pass


def records(point: Point, seeds: np.ndarray, rng: np.random.Generator) -> pa.Table:
    """Made-up records of a point's cells, in the ledger's schema."""
    rows = len(seeds)
    stem = f'["{point.point_id}",'
    numbers = {
        name: rng.random(rows) for name in ("distance", "start_distance", "predicted_cost", "last_cost", "model_distance")
    }
    constant: dict[str, object] = {
        "point_id": point.point_id,
        "task": point.task.name,
        "task_settings": canonical(point.task.as_dict()),
        "problem_kind": "shallow",
        "model": point.model,
        "model_digest": point.model_digest,
        "planner": point.planner.name,
        "planner_settings": canonical(point.planner.as_dict()),
        "horizon": point.horizon,
        "mode": point.mode,
        "status": "completed",
        "steps_to_success": point.horizon // 2,
        "plan_seconds": 0.05,
        "batch_seconds": 3.2,
        "batch_size": 64,
        "worker_seconds": 0.06,
        "attempts": 1,
        "evaluations": 30000,
        "device": "cpu: made up",
        "threads": 1,
        "host": "nowhere",
        "torch_version": "2.13.0",
        "versions": canonical({"torch": "2.13.0", "numpy": "2.4.6", "pyarrow": "25.0.1", "ray": "2.60.0"}),
        "git_revision": "0" * 40,
        "config_digest": "0" * 16,
        "finished_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    width = 2 * point.horizon
    varying: dict[str, pa.Array] = {
        **{name: pa.array(values) for name, values in numbers.items()},
        "cell_id": pa.array([sha256(f"{stem}{seed}]".encode()).hexdigest()[:16] for seed in seeds.tolist()]),
        "seed": pa.array(seeds),
        "success": pa.array(rng.random(rows) < 0.7),
        "model_success": pa.array(rng.random(rows) < 0.8),
        "actions": _lists(rng, rows, width),
        "costs": _lists(rng, rows, COST_SAMPLES),
        "distances": _lists(rng, rows, min(point.horizon + 1, MOST_DISTANCES)),
    }
    assert varying["cell_id"][0].as_py() == point.cell(int(seeds[0])).cell_id
    columns = [
        varying[field.name].cast(field.type)
        if field.name in varying
        else pa.repeat(pa.scalar(constant.get(field.name), field.type), rows)
        for field in SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _lists(rng: np.random.Generator, rows: int, width: int) -> pa.ListArray:
    """Rows of `width` random numbers each."""
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, rng.normal(size=rows * width).astype(np.float32))


def size_mb(folder: Path) -> float:
    """Megabytes of the ledger's parts."""
    return sum(file.stat().st_size for file in folder.rglob("*.parquet")) / 1e6


def _since_start() -> float:
    """Seconds since the start of this process was requested."""
    return time.time() - float(os.environ["BENCHMARK_STARTED"])


def _used() -> dict[str, float]:
    """Processor seconds and peak megabytes of this process.

    The peak is this program's alone: that of getrusage would include the process that started it.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    return {"peak_mb": peak, "cpu_s": sum(os.times()[:2])}


if __name__ == "__main__":
    main()
