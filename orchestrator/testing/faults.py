"""Evaluators of the plane that fail on cue, for tests of what must survive it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.artifacts.drawing import Drawing, Drawn
from orchestrator.core.batch import Batch
from orchestrator.core.cell import Point
from orchestrator.core.provenance import Provenance
from orchestrator.evaluation.results import failed_batch
from orchestrator.testing.plane import plane_evaluator
from orchestrator.workers.evaluator import BatchResult

KILL_ONCE, POISON, RAISING, HUNGRY = 1001, 1002, 1003, 1004
"""Seeds that kill their worker once, kill it always, raise in it, and fit into memory with at most one other."""

UNDRAWABLE, DRAWN_ONCE = 2001, 2002
"""Seeds whose drawing raises, and whose drawing kills its worker once."""

LAST_WORDS = "cannot go on with this cell"
"""The text that a worker writes before `POISON` kills it."""


@dataclass(frozen=True)
class Faulty:
    """Makes evaluators that fail on the seeds above; `folder` records across processes which seeds have already killed."""

    folder: str

    def __call__(self, device: str) -> FaultyEvaluator:
        """An evaluator on `device`."""
        return FaultyEvaluator(Path(self.folder), device)


class FaultyEvaluator:
    """The plane's evaluator, with faults asked for by seed."""

    def __init__(self, folder: Path, device: str) -> None:
        self._folder = folder
        self._evaluator = plane_evaluator(device)

    def evaluate(self, batch: Batch) -> BatchResult:
        """The batch's results, after this evaluator's fault."""
        with (self._folder / f"log-{os.getpid()}").open("a", encoding="utf-8") as log:
            log.write(f"{batch.point.point_id} {batch.seeds}\n")
        if RAISING in batch.seeds:
            raise RuntimeError("raised on purpose\nwith a second line")
        if HUNGRY in batch.seeds and len(batch.seeds) > 2:
            raise MemoryError("no room")
        if POISON in batch.seeds:
            os.write(2, f"{LAST_WORDS}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        if KILL_ONCE in batch.seeds:
            mark = self._folder / f"killed-{batch.point.point_id}"
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return self._evaluator.evaluate(batch)

    def draw(self, drawing: Drawing) -> Drawn:
        """The drawings, unless a seed asks for a fault."""
        seeds = [job.seed for job in drawing.jobs]
        if UNDRAWABLE in seeds:
            raise RuntimeError("cannot be drawn")
        if DRAWN_ONCE in seeds:
            mark = self._folder / f"drawn-{drawing.point.point_id}"
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return self._evaluator.draw(drawing)


@dataclass(frozen=True)
class Slow:
    """Makes evaluators that take `seconds` longer per batch until `until_file` exists; their host is their process."""

    seconds: float
    until_file: str = "/nonexistent"

    def __call__(self, device: str) -> SlowEvaluator:
        """An evaluator on `device`."""
        return SlowEvaluator(self, device)


class SlowEvaluator:
    """The plane's evaluator, slow until a file exists."""

    def __init__(self, slow: Slow, device: str) -> None:
        self._slow = slow
        self._evaluator = plane_evaluator(device)

    def evaluate(self, batch: Batch) -> BatchResult:
        """The batch's results, after this evaluator's fault."""
        if not Path(self._slow.until_file).exists():
            time.sleep(self._slow.seconds)
        result = self._evaluator.evaluate(batch)
        return replace(result, results=tuple(replace(record, host=str(os.getpid())) for record in result.results))

    def draw(self, drawing: Drawing) -> Drawn:
        """The drawings."""
        return self._evaluator.draw(drawing)


def quick_result(point: Point, seeds: tuple[int, ...]) -> BatchResult:
    """Failed records, made without planning, for tests of the ledger."""
    return failed_batch(Batch.of(point, seeds), "none", Provenance.here("cpu"))
