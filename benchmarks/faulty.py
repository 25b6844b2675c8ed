"""The sweep of `benchmarks.faults`: its cells, the workers that some of them kill, and the driver that gets killed.

`python -m benchmarks.faulty FOLDER NUMBER ADDRESS TRACKING_URI` runs or resumes sweep NUMBER.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.artifacts.drawing import Drawing, Drawn
from orchestrator.core.batch import Batch
from orchestrator.core.portion import Portion, lacking
from orchestrator.driver.run_cells import Hooks, run_cells
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger
from orchestrator.scheduling.memory_limits import MemoryLimits
from orchestrator.scheduling.scheduler import Limits
from orchestrator.testing import plane_evaluator, plane_point
from orchestrator.tracking.background_tracker import BackgroundTracker
from orchestrator.tracking.content.sweep_info import SweepInfo
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.relay import OutboxRelay
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.tracking_store import TrackingStore
from orchestrator.workers.backend import BatchEvaluator
from orchestrator.workers.ray_backend import RayBackend, RayConfig

POINTS, CELLS = 4, 250
"""Points of a sweep, and cells of each."""
POISON, HUNGRY = 2, 3
"""Cells of a sweep that kill every worker, and cells that run out of memory in any batch of more than two."""
EXPERIMENT = "faults"
MAX_ROWS = 4
SECONDS = 1.0
"""Seconds added to each batch while faults are still to come."""


@dataclass(frozen=True)
class Layout:
    """Where a sweep keeps its things."""

    root: Path

    @property
    def ledger(self) -> Path:
        """The ledger, on a small disk of its own."""
        return self.root / "disk" / "ledger"

    @property
    def workers(self) -> Path:
        """A folder with a file for each worker process that was ever started, named by its process id."""
        return self.root / "workers"

    @property
    def without_delays(self) -> Path:
        """A file that exists once no more faults are to come: batches are no longer slowed down."""
        return self.root / "hurry"


def work(number: int) -> list[Portion]:
    """The cells of a sweep."""
    points = [plane_point(horizon, iterations=30 + number) for horizon in range(4, 4 + POINTS)]
    return [Portion.of(point, range(CELLS)) for point in points]


def culprits(number: int) -> tuple[frozenset[tuple[str, int]], frozenset[tuple[str, int]]]:
    """(point id, seed) of the poison cells and of the hungry ones."""
    rng = random.Random(number)
    every = [(portion.point.point_id, int(seed)) for portion in work(number) for seed in portion.seeds]
    chosen = rng.sample(every, POISON + HUNGRY)
    return frozenset(chosen[:POISON]), frozenset(chosen[POISON:])


@dataclass(frozen=True)
class Faulty:
    """Factory of the workers' evaluators."""

    root: Path
    number: int

    def __call__(self, device: str) -> BatchEvaluator:
        """An evaluator, after recording the process id of its worker."""
        layout = Layout(self.root)
        (layout.workers / str(os.getpid())).touch()
        return FaultyEvaluator(layout, self.number)


class FaultyEvaluator:
    """A slowed-down evaluator that fails on the poison and the hungry cells."""

    def __init__(self, layout: Layout, number: int) -> None:
        self._layout = layout
        self._poison, self._hungry = culprits(number)
        self._evaluator = plane_evaluator()

    def draw(self, drawing: Drawing) -> Drawn:
        """Draw without faults."""
        return self._evaluator.draw(drawing)

    def evaluate(self, batch: Batch) -> BatchResult:
        """One record per cell, unless the batch kills the process or runs out of memory."""
        cells = {(batch.point.point_id, seed) for seed in batch.seeds}
        if cells & self._hungry and len(cells) > 2:
            raise MemoryError("a cell of this batch leaves no room for more than one other")
        if not self._layout.without_delays.exists():
            time.sleep(SECONDS)
        if cells & self._poison:
            os.write(2, b"poison\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return self._evaluator.evaluate(batch)


def main(words: Sequence[str]) -> None:
    """Run a sweep to its end, or resume it."""
    folder, number, address, uri = words
    layout = Layout(Path(folder))
    ledger, portions = Ledger(layout.ledger), work(int(number))
    tracker = Tracker(TrackingStore(uri, layout.root / "files", EXPERIMENT), layout.root / "markers")
    relay = OutboxRelay(Outbox(layout.root / "outbox"), tracker, ledger, layout.root / "artifacts")
    missing = lacking(portions, ledger.finished_seeds())
    info = SweepInfo(f"sweep-{number}", "", "", "disturbed")
    background_tracker = BackgroundTracker(relay, info, portions, missing)
    background_tracker.start()
    config = RayConfig(address, cpus_per_worker=1, wait_for_nodes=300)
    with RayBackend(config, Faulty(layout.root, int(number))) as backend:
        hooks = Hooks(on_result=background_tracker.on_result)
        run_cells(portions, ledger, backend, Limits(MAX_ROWS), hooks, memory_limits=MemoryLimits(layout.root / "sizes.json"))
    trouble = background_tracker.finish()
    if trouble:
        sys.stderr.write(f"{trouble}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
