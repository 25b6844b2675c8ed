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
from sweeps.console.terminal import duration


class TuneProgress(Display):
    """Shows how a study stands; feed it `on_result` and `on_end`."""

    def __init__(
        self,
        console: Console,
        backend: Backend,
        objective: Objective,
        total: int,
        before: int,
        view: View = View.LIVE,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`before` of `total` trials have ended in earlier runs."""
        super().__init__(console, backend, view, clock)
        self._objective = objective
        self._total, self._before = total, before
        self._began = clock()
        self._cells = self._failed = 0
        self.score = StudyProgress()

    def start(self) -> None:
        """The clock of rates begins."""
        self._began = self._clock()

    def on_result(self, result: BatchResult) -> None:
        """A batch is in the ledger."""
        self._cells += len(result.results)
        self._failed += sum(record.status == "failed" for record in result.results)
        self.refresh()

    def on_end(self, ended: EndedTrial) -> None:
        """A trial has ended."""
        self.refresh()

    def progress(self) -> tuple[int, int]:
        """Trials that have ended, earlier runs included."""
        return self._before + self.score.finished, self._total

    def line(self) -> str:
        """One line that says it all."""
        score, seconds = self.score, self._clock() - self._began
        done, total = self.progress()
        parts = [f"{done}/{total} trials", f"{score.pruned} pruned"]
        if score.best is not None:
            parts.append(f"best {self._objective.name} {score.best:.3g}")
        parts.append(f"{self._cells} cells {self._cells / max(seconds, 1e-9):.1f}/s" if self._cells else "starting")
        if score.finished and done < total:
            parts.append(f"about {duration(seconds / score.finished * (total - done))} left")
        parts += self.workers_busy()
        if self._failed:
            parts.append(f"{self._failed} cells failed")
        return "  ".join(parts)

    def numbers(self) -> dict[str, object]:
        """The same for machines."""
        return {
            "trials": self.progress()[0],
            "total": self._total,
            "pruned": self.score.pruned,
            "best": self.score.best,
            "cells": self._cells,
            "cells_failed": self._failed,
            "seconds": round(self._clock() - self._began, 1),
            "under_way": len(self.score.under_way),
        }
