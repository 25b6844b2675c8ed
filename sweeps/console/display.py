"""The progress display: a bar and the workers on a terminal, plain lines elsewhere, JSON lines or nothing on request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from time import monotonic
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from orchestrator.workers.backend import Backend, WorkerView
from sweeps.console.events import Event
from sweeps.console.terminal import duration, emit, say

LINE_EVERY = 5.0
"""Seconds between plain lines."""

WORKERS = 8
"""Number of workers that a terminal shows below the bar; `grasp status` shows all."""


class View(Enum):
    """How the progress of a sweep or a study is shown."""

    LIVE = "live"
    """A bar and the workers on a terminal, plain lines elsewhere."""
    QUIET = "quiet"
    """Nothing before the final table."""
    JSON = "json"
    """One JSON object per line on standard output, and nothing else there."""


class Display(ABC):
    """Shows one line that keeps changing; subclasses provide its content."""

    def __init__(
        self, console: Console, backend: Backend, view: View = View.LIVE, clock: Callable[[], float] = monotonic
    ) -> None:
        self._console = console
        self._backend = backend
        self._view = view
        self._clock = clock
        self._last = clock()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._live: Live | None = None

    @abstractmethod
    def progress(self) -> tuple[int, int]:
        """How much is done, and the total."""

    @abstractmethod
    def line(self) -> str:
        """The progress as one line."""

    @abstractmethod
    def event(self) -> Event:
        """The progress for programs."""

    @abstractmethod
    def start(self) -> None:
        """Start the clock that rates are measured by."""

    def __enter__(self) -> Display:
        self.start()
        self._last = self._clock()
        if self._view is View.LIVE and self._console.is_terminal:
            columns = (BarColumn(bar_width=24), TextColumn("{task.description}", markup=False))
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task(self.line(), total=self.progress()[1])
            self._live = Live(get_renderable=self._screen, console=self._console, transient=True, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def refresh(self) -> None:
        """Show the current state; lines and JSON at most once per `LINE_EVERY` seconds, and at the end."""
        done, total = self.progress()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, description=self.line())
            return
        now = self._clock()
        if self._view is not View.QUIET and (now - self._last >= LINE_EVERY or done >= total):
            self._last = now
            if self._view is View.JSON:
                emit(self.event().as_json())
            else:
                say(self._console, self.line())

    def _screen(self) -> Group:
        """The bar, with the workers and their batches below it; called in the thread that refreshes the screen."""
        workers = self._backend.workers()
        lines = [f"  {worker.name}: {_doing(worker)}" for worker in workers[:WORKERS]]
        lines += [f"  and {len(workers) - WORKERS} more: grasp status"] if len(workers) > WORKERS else []
        assert self._bar is not None
        return Group(self._bar, *(Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in lines))

    def workers_busy(self) -> list[str]:
        """How many workers are busy, if there are several."""
        workers = self._backend.workers()
        return (
            [f"{sum(worker.batch is not None for worker in workers)}/{len(workers)} workers busy"] if len(workers) > 1 else []
        )


def _doing(worker: WorkerView) -> str:
    return f"{worker.plans}, for {duration(worker.seconds)}" if worker.plans else "idle"
