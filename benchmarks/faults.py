"""Two hundred faults: sweeps on a cluster of several nodes while workers, nodes, drivers, MLflow and the disk fail.

`python -m benchmarks.faults` runs 8 sweeps of 1,000 cells on a Ray cluster of a head and two worker nodes (hosts of their own
in network namespaces), tracked by an MLflow server. In each, one after the other and in random order: 6 workers are killed
(kill -9), 3 nodes are killed and replaced (`ray.cluster_utils`), a node is cut off for some seconds twice and for longer than
Ray's timeout once, in one direction or both, the driver is killed (kill -9) and restarted 3 times, the MLflow server is
killed and restarted 3 times, and the ledger's disk is full for three seconds twice (a tmpfs; mounting it takes root). Two
cells of each sweep kill whatever plans them and three run out of memory in all but the smallest batches: 25 faults per sweep.
Where there can be no such hosts, 9 workers are killed and no node is cut off.

The last line is JSON: `lost` cells without a record, `duplicated` cells with more than one record on disk, `hung` sweeps that
made no progress for three minutes, `poison_recorded` (every poison cell is a recorded failure that says how its workers died,
and no other cell failed), `outputs_equal` (success, status and distance of all other cells are those of an undisturbed run),
`tracked` (MLflow has every point of every sweep once, with all its cells).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from benchmarks.faulty import CELLS, EXPERIMENT, HUNGRY, POINTS, POISON, Layout, culprits, work
from benchmarks.network.nodes import HOSTS, Nodes, nodes
from benchmarks.services import MLflowServer
from orchestrator.core.batch import Batch
from orchestrator.ledger.ledger import Ledger
from orchestrator.testing import plane_evaluator

DOSES = {"worker": 6, "node": 3, "cut": 2, "isolation": 1, "driver": 3, "mlflow": 3, "disk": 2}
"""Faults of each kind in a sweep, besides the cells that are faulty themselves."""
WITHOUT_CUTS = {"worker": 9, "node": 3, "driver": 3, "mlflow": 3, "disk": 2}
"""The same where the network cannot be cut."""
FULL_SECONDS = 3.0
DISK_MB = 24
TIMEOUT = 180.0
"""Seconds without a new record after which a sweep counts as hung."""


@dataclass
class Stage:
    """A cluster, an MLflow server and the sweep that runs on them now."""

    nodes: Nodes
    server: MLflowServer
    layout: Layout
    number: int
    driver: subprocess.Popen[bytes] | None = None
    restarting: list[threading.Thread] = field(default_factory=list)

    def start_driver(self) -> None:
        """Start or resume the sweep in a new driver process."""
        command = [sys.executable, "-m", "benchmarks.faulty", str(self.layout.root), str(self.number)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (self.layout.root / "driver.log").open("ab") as log:
            self.driver = subprocess.Popen(
                [*command, self.nodes.address, self.server.uri], stdout=log, stderr=log, env=environment
            )

    def recorded(self) -> int:
        """Number of cells on disk."""
        return Ledger(self.layout.ledger).table(columns=["cell_id"]).num_rows

    def kill_worker(self, rng: random.Random) -> None:
        """Kill a worker process (kill -9)."""
        alive = [int(file.name) for file in self.layout.workers.iterdir() if Path(f"/proc/{file.name}").exists()]
        if alive:
            _kill(rng.choice(alive))

    def kill_node(self, rng: random.Random) -> None:
        """Kill a worker node and start another."""
        self.nodes.replace(rng.choice(HOSTS))

    def kill_driver(self, rng: random.Random) -> None:
        """Kill the driver (kill -9) and start it again."""
        assert self.driver is not None
        self.driver.kill()
        self.driver.wait()
        self.start_driver()

    def kill_mlflow(self, rng: random.Random) -> None:
        """Kill the MLflow server and start it again in the background, which takes some seconds."""
        self.settle()
        self.server.kill()
        back = threading.Thread(target=self.server.start)
        back.start()
        self.restarting.append(back)

    def fill_disk(self, rng: random.Random) -> None:
        """Fill the ledger's disk for `FULL_SECONDS`."""
        ballast = self.layout.root / "disk" / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                for size in (2**20, 2**12):
                    while True:
                        try:
                            file.write(b"\0" * size)
                        except OSError:
                            break
                time.sleep(FULL_SECONDS)
            finally:
                ballast.unlink()

    def ended(self, verdict: Verdict) -> bool:
        """Wait until the driver ends; False, and noted in the verdict, when it does not."""
        assert self.driver is not None
        try:
            self.driver.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            verdict.hung += 1
            verdict.complain(f"the driver of sweep {self.number} does not end")
            return False
        return True

    def settle(self) -> None:
        """Wait until what was killed is back."""
        for thread in self.restarting:
            thread.join()
        self.restarting.clear()


@dataclass
class Verdict:
    """The fate of the cells of all sweeps."""

    faults: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    duplicated: int = 0
    hung: int = 0
    poison_recorded: bool = True
    outputs_equal: bool = True
    tracked: bool = True
    trouble: list[str] = field(default_factory=list)

    def complain(self, text: str) -> None:
        """Note and print something that should not be."""
        self.trouble.append(text)
        say(f"  WRONG: {text}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sweeps, inject the faults and judge the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=8, help="sweeps of 25 faults each (default 8)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults' order (default 0)")
    options = parser.parse_args(arguments)
    os.environ |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    verdict, began = Verdict(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="grasp-faults-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        with nodes() as (cluster, cuts), MLflowServer(f"sqlite:///{root}/mlflow.db", root / "mlflow") as server:
            for number in range(options.sweeps):
                layout = Layout(root / f"sweep-{number}")
                rng = random.Random(f"{options.seed}/{number}")
                disturb(Stage(cluster, server, layout, number), DOSES if cuts else WITHOUT_CUTS, rng, verdict)
    say(f"{sum(verdict.faults.values())} faults in {time.monotonic() - began:.0f} s: {dict(verdict.faults)}")
    found = {
        "faults": sum(verdict.faults.values()),
        "lost": verdict.lost,
        "duplicated": verdict.duplicated,
        "hung": verdict.hung,
        "poison_recorded": verdict.poison_recorded,
        "outputs_equal": verdict.outputs_equal,
        "tracked": verdict.tracked,
        "by_kind": dict(verdict.faults),
        "cells": options.sweeps * POINTS * CELLS,
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(found))


def disturb(stage: Stage, counts: Mapping[str, int], rng: random.Random, verdict: Verdict) -> None:
    """Run one sweep with its faults, so many of each kind, from beginning to end."""
    began = time.monotonic()
    for folder in (stage.layout.workers, stage.layout.root / "disk"):
        folder.mkdir(parents=True)
    disk = str(stage.layout.root / "disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", disk], check=True)
    try:
        stage.start_driver()
        doses = [kind for kind, count in counts.items() for _ in range(count)]
        rng.shuffle(doses)
        strike: dict[str, Callable[[random.Random], None]] = {
            "worker": stage.kill_worker,
            "node": stage.kill_node,
            "cut": stage.nodes.cut,
            "isolation": stage.nodes.isolate,
            "driver": stage.kill_driver,
            "mlflow": stage.kill_mlflow,
            "disk": stage.fill_disk,
        }
        for kind in doses:
            if not progressed(stage, 2, verdict):
                break
            strike[kind](rng)
            verdict.faults[kind] += 1
        verdict.faults |= Counter({"poison": POISON * (stage.number + 1), "memory": HUNGRY * (stage.number + 1)})
        stage.layout.without_delays.touch()
        while stage.driver is not None and stage.driver.poll() is None and progressed(stage, 1, verdict):
            pass
        stage.settle()
        # MLflow may have been down at the end: a driver that finds nothing to plan delivers what still waits.
        if not stage.ended(verdict):
            return
        stage.start_driver()
        stage.ended(verdict)
        judge(stage, verdict)
    finally:
        if stage.driver is not None:
            stage.driver.kill()
            stage.driver.wait()
        stage.settle()
        subprocess.run(["umount", "-l", disk], check=True)
    say(f"sweep {stage.number}: {len(doses) + POISON + HUNGRY} faults, {time.monotonic() - began:.0f} s")


def progressed(stage: Stage, cells: int, verdict: Verdict) -> bool:
    """Wait for `cells` new records or the driver's end; False, and noted in the verdict, after `TIMEOUT` without either."""
    before, deadline = stage.recorded(), time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        if stage.driver is None or stage.driver.poll() is not None or stage.recorded() >= before + cells:
            return True
        time.sleep(0.2)
    verdict.hung += 1
    verdict.complain(f"sweep {stage.number} made no progress for {TIMEOUT:g} s after {before} cells")
    return False


def judge(stage: Stage, verdict: Verdict) -> None:
    """Compare what is on disk with what should be."""
    assert stage.driver is not None
    if stage.driver.poll() != 0:
        verdict.complain(f"the driver of sweep {stage.number} ended with {stage.driver.poll()}")
    rows = raw_rows(stage.layout.ledger)
    portions, (poison, _) = work(stage.number), culprits(stage.number)
    times = Counter((row["point_id"], row["seed"]) for row in rows)
    expected_cells = {(portion.point.point_id, int(seed)) for portion in portions for seed in portion.seeds}
    lost, doubled = expected_cells - times.keys(), [cell for cell, count in times.items() if count > 1]
    verdict.lost += len(lost)
    verdict.duplicated += len(doubled)
    failed = {(row["point_id"], row["seed"]): row["error"] for row in rows if row["status"] == "failed"}
    if failed.keys() != poison or not all("died" in error for error in failed.values()):
        verdict.poison_recorded = False
        verdict.complain(f"failed cells of sweep {stage.number}: {failed}, poison: {sorted(poison)}")
    tracked(stage, verdict)
    expected = undisturbed(portions)
    for row in rows:
        cell = row["point_id"], row["seed"]
        if cell not in poison and not alike(row, expected[cell]):
            verdict.outputs_equal = False
            verdict.complain(f"cell {cell} is {row}, undisturbed {expected[cell]}")


def tracked(stage: Stage, verdict: Verdict) -> None:
    """Check that MLflow has the sweep once, and each of its points once with all its cells."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=stage.server.uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = [] if experiment is None else client.search_runs([experiment.experiment_id], max_results=1000)
    mine = [run for run in runs if run.data.tags.get("grasp.sweep") == f"sweep-{stage.number}"]
    parents = [run for run in mine if "mlflow.parentRunId" not in run.data.tags]
    ids = {run.info.run_id for run in parents}
    points = [run for run in runs if run.data.tags.get("mlflow.parentRunId") in ids]
    cells = [run.data.metrics.get("cells") for run in points]
    if len(parents) != 1 or cells != [CELLS] * POINTS or {run.info.status for run in (*parents, *points)} != {"FINISHED"}:
        verdict.tracked = False
        verdict.complain(f"MLflow has {len(parents)} runs of sweep {stage.number}, and points of {cells} cells")


def raw_rows(ledger: Path) -> list[dict[str, Any]]:
    """Every record in the parts, without deduplication."""
    columns = ["point_id", "seed", "status", "error", "success", "distance", "steps_to_success"]
    return ds.dataset([str(file) for file in sorted(ledger.glob("part-*.parquet"))]).to_table(columns=columns).to_pylist()


def undisturbed(portions: Sequence[Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """The results of the same cells planned in this process without faults, by point id and seed."""
    evaluator, found = plane_evaluator(), {}
    for portion in portions:
        seeds = portion.seeds.tolist()
        for first in range(0, len(seeds), 50):
            for record in evaluator.evaluate(Batch.of(portion.point, tuple(seeds[first : first + 50]))).results:
                found[record.point_id, record.seed] = {
                    name: getattr(record, name) for name in ("status", "success", "distance", "steps_to_success")
                }
    return found


def alike(row: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two records agree to float tolerance."""
    same = all(row[name] == other[name] for name in ("status", "success", "steps_to_success"))
    return same and abs(row["distance"] - other["distance"]) <= 1e-3 * max(1e-2, abs(other["distance"]))


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def say(text: str) -> None:
    """Print a line of progress at once."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
