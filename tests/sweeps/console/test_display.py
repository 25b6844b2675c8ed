"""The display of a running sweep on a terminal."""

from __future__ import annotations

import io
from time import monotonic

from rich.console import Console

from orchestrator.core.batch import Batch
from orchestrator.core.portion import Portion
from orchestrator.evaluation.results import BatchResult
from orchestrator.scheduling.durations import DurationModel
from orchestrator.testing import plane_point, quick_result
from orchestrator.workers.backend import InlineBackend, WorkerView
from sweeps.running.progress import SweepProgress, Tally


def test_a_bar_grows() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    tally = Tally([Portion.of(plane_point(), range(4))], {}, DurationModel())
    with SweepProgress(console, tally, InlineBackend()) as view:
        tally.on_result(BatchResult(quick_result(plane_point(), (0, 1, 2, 3)).results))
        view.refresh()
    assert "4/4 cells" in stream.getvalue()


def test_on_a_terminal_the_view_says_what_workers_do() -> None:
    stream, batch = io.StringIO(), Batch.of(plane_point(), (3, 4, 5))
    workers = [WorkerView(f"worker {n}", "node", "cpu", (), batch if n == 1 else None, monotonic(), 0, 0) for n in range(1, 11)]
    backend = InlineBackend()
    backend.workers = lambda: tuple(workers)
    tally = Tally([Portion.of(plane_point(), range(4))], {}, DurationModel())
    with SweepProgress(Console(file=stream, force_terminal=True, width=100), tally, backend) as view:
        view.refresh()
    said = stream.getvalue()
    assert f"worker 1: {batch.words}, for 0 s" in said
    assert "worker 2: idle" in said
    assert "and 2 more: grasp status" in said
    assert "worker 9" not in said
