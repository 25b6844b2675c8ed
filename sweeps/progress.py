"""The live view of a sweep: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from orchestrator.cells import Cell
from orchestrator.evaluate import BatchResult
from orchestrator.records import CellResult
from sweeps.estimate import Timings, duration
from sweeps.terminal import say

LINE_EVERY = 5.0
"""Seconds between plain lines."""


class SweepProgress:
    """Cells done, rate, success so far by planner, time left. Feed it `on_result`."""

    def __init__(
        self,
        console: Console,
        missing: Mapping[str, Cell],
        labels: Mapping[str, str],
        timings: Timings,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`missing` are the cells to come by id, `labels` planner labels by point id."""
        self._console = console
        self._left = dict(missing)
        self._total = len(missing)
        self._labels = labels
        self._timings = timings
        self._clock = clock
        self._started = clock()
        self._last_line = self._started
        self._planned_seconds = 0.0
        self._outcomes: dict[str, list[bool]] = defaultdict(list)
        self._failed = 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> SweepProgress:
        self._started = self._last_line = self._clock()
        if self._console.is_terminal:
            columns = (BarColumn(bar_width=24), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task(self.line(), total=self._total)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def on_result(self, batch: BatchResult) -> None:
        """Count a batch and show it."""
        for result in batch.results:
            self._count(result)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._total - len(self._left), description=self.line())
            return
        now = self._clock()
        if now - self._last_line >= LINE_EVERY or not self._left:
            self._last_line = now
            say(self._console, self.line())

    def _count(self, result: CellResult) -> None:
        self._left.pop(result.cell_id, None)
        if result.status == "failed":
            self._failed += 1
            return
        self._planned_seconds += result.plan_seconds or 0.0
        identity = result.point_id, result.task, result.planner, result.mode, result.horizon
        self._timings.add(*identity, result.plan_seconds)
        self._outcomes[self._labels.get(result.point_id, result.planner)].append(result.success)

    def time_left(self) -> float | None:
        """Seconds to go: planning seconds to come over the parallelism seen so far; None before the first result."""
        elapsed = self._clock() - self._started
        if not self._left:
            return 0.0
        if self._planned_seconds <= 0 or elapsed <= 0:
            return None
        to_come = sum(self._timings.cost(cell.point) for cell in self._left.values())
        return to_come * elapsed / self._planned_seconds

    def line(self) -> str:
        """One line that says it all."""
        done = self._total - len(self._left)
        elapsed = max(self._clock() - self._started, 1e-9)
        left = self.time_left()
        parts = [f"{done}/{self._total} cells", f"{done / elapsed:.1f}/s" if done else "starting"]
        if left:
            parts.append(f"{duration(left)} left")
        parts += [f"{name} {sum(won)}/{len(won)}" for name, won in self._outcomes.items()]
        if self._failed:
            parts.append(f"{self._failed} failed")
        return "  ".join(parts)
