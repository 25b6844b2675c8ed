"""The live view of a study: trials, the best so far, cells, rate, time left."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from rich.console import Console

from orchestrator.evaluation.results import BatchResult
from orchestrator.tuning.objectives import Objective
from orchestrator.tuning.tuner import EndedTrial, StudyProgress
from orchestrator.workers.backend import Backend
from sweeps.console.display import Display, View
from sweeps.console.events import Progress, StudyEvent
from sweeps.console.terminal import duration


def refused_words(count: int) -> str:
    """How many settings were refused, in words."""
    return f"{count} {'setting' if count == 1 else 'settings'} refused"


class TuneProgress(Display):
    """Shows the progress of a study, updated by `on_result` and `on_end`."""

    def __init__(
        self,
        console: Console,
        backend: Backend,
        objective: Objective,
        total: int,
        before: int,
        score: StudyProgress,
        view: View = View.LIVE,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`before` of `total` trials have ended in earlier runs; the tuner updates `score`."""
        super().__init__(console, backend, view, clock)
        self._objective = objective
        self._total, self._before = total, before
        self._began = clock()
        self._cells = self._failed = 0
        self._score = score

    def start(self) -> None:
        """Start the clock that rates are measured by."""
        self._began = self._clock()

    def on_result(self, result: BatchResult) -> None:
        """Count a batch that is in the ledger."""
        self._cells += len(result.results)
        self._failed += sum(record.status == "failed" for record in result.results)
        self.refresh()

    def on_end(self, ended: EndedTrial) -> None:
        """Show a trial that has ended."""
        self.refresh()

    def progress(self) -> tuple[int, int]:
        """Trials that have ended, including earlier runs, and trials in all."""
        return self._before + self._score.finished, self._total

    def line(self) -> str:
        """The progress as one line."""
        score, seconds = self._score, self._clock() - self._began
        done, total = self.progress()
        parts = [f"{done}/{total} trials", f"{score.pruned} pruned"]
        if score.best is not None:
            parts.append(f"best {self._objective.name} {score.best:.3g}")
        parts.append(f"{self._cells} cells {self._cells / max(seconds, 1e-9):.1f}/s" if self._cells else "starting")
        if (left := self._seconds_left()) is not None and left > 0:
            parts.append(f"about {duration(left)} left")
        parts += self.workers_busy()
        if score.refused:
            parts.append(refused_words(score.refused))
        if self._failed:
            parts.append(f"{self._failed} cells failed")
        return "  ".join(parts)

    def event(self) -> StudyEvent:
        """The progress for programs."""
        (done, total), seconds = self.progress(), round(self._clock() - self._began, 1)
        left = self._seconds_left()
        return StudyEvent(
            Progress("trials", done, total, seconds, None if left is None else round(left, 1)),
            trials=done,
            total=total,
            pruned=self._score.pruned,
            best=self._score.best,
            cells=self._cells,
            cells_failed=self._failed,
            seconds=seconds,
            under_way=len(self._score.under_way),
        )

    def _seconds_left(self) -> float | None:
        """Seconds to go, estimated from the trials of this run; None before one has ended."""
        done, total = self.progress()
        if done >= total:
            return 0.0
        return (self._clock() - self._began) / self._score.finished * (total - done) if self._score.finished else None
