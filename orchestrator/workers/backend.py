"""The protocol of backends, and the backend that runs batches in this process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol, runtime_checkable

import torch

from orchestrator.artifacts.drawing import Drawing, Drawn, attempt_drawing
from orchestrator.core.batch import Batch
from orchestrator.core.process import host
from orchestrator.core.provenance import Provenance
from orchestrator.core.secrets import one_line
from orchestrator.evaluation.results import BatchFailure, failed_batch
from orchestrator.ledger.records import CellResult
from orchestrator.scheduling.scheduler import AvailableWorker, Scheduler
from orchestrator.workers.devices import check_device, device_memory, is_broken, lacks_memory
from orchestrator.workers.evaluator import BatchResult, Evaluator
from planners import PlannerMemoryError
from world_models.errors import UserError
from world_models.processors import cpus_here

_log = logging.getLogger(__name__)

OUT_OF_MEMORY = (PlannerMemoryError, torch.cuda.OutOfMemoryError, MemoryError)
"""Errors raised if memory runs out and the process survives."""


@runtime_checkable
class BatchEvaluator(Protocol):
    """An evaluator for a worker: it turns batches into results, and drawings into artifacts."""

    def evaluate(self, batch: Batch) -> BatchResult:
        """Return one record per cell. Raises what tasks, models and planners raise."""
        ...

    def draw(self, drawing: Drawing) -> Drawn:
        """Draw recorded cells. Raises what tasks and models raise."""
        ...


MakeEvaluator = Callable[[str], BatchEvaluator]
"""A picklable function that makes a worker's evaluator for a device, such as `Evaluator` itself."""


def attempt(evaluator: BatchEvaluator, batch: Batch) -> BatchResult | BatchFailure:
    """Evaluate a batch in a worker.

    Only here are exceptions turned into values: one bad cell must not cost its neighbours.
    """
    try:
        return evaluator.evaluate(batch)
    except OUT_OF_MEMORY as error:
        return BatchFailure(one_line(error), out_of_memory=True)
    except Exception as error:
        memory = lacks_memory(error)
        if not memory:
            _log.warning("a batch of %s raised", batch.point, exc_info=True)
        return BatchFailure(one_line(error), memory)


def evaluated(evaluator: BatchEvaluator, batch: Batch, device: str = "cpu") -> BatchResult:
    """The result of a single batch; anything raised becomes failed records."""
    answer = attempt(evaluator, batch)
    return failed_batch(batch, answer.message, Provenance.here(device)) if isinstance(answer, BatchFailure) else answer


@dataclass(frozen=True)
class WorkerView:
    """A worker's state for observers."""

    name: str
    node: str
    device: str
    models: tuple[str, ...]
    """Digests of its loaded world models."""
    batch: Batch | None
    """The batch that it plans now; None if it is idle."""
    since: float
    """When it began the batch or became idle (`time.monotonic`)."""
    cells: int
    """Number of cells that it has planned."""
    deaths: int
    """Predecessors that died."""

    @property
    def plans(self) -> str:
        """The batch that it plans now, in words; empty when it is idle."""
        return "" if self.batch is None else self.batch.words

    @property
    def seconds(self) -> float:
        """How long it has been at that."""
        return max(0.0, time.monotonic() - self.since)


@runtime_checkable
class Backend(Protocol):
    """Runs the batches that a scheduler hands out."""

    def capacity(self) -> int:
        """Number of workers that there is room for, each with one running batch."""
        ...

    def run(self, scheduler: Scheduler) -> Iterator[BatchResult]:
        """Results as they arrive, until the scheduler is over. Must not be called during another `run`."""
        ...

    def workers(self) -> tuple[WorkerView, ...]:
        """The workers as they are now."""
        ...

    def close(self) -> None:
        """Release everything; may be called twice."""
        ...

    def __enter__(self) -> Backend: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def inline_threads(threads: object = None) -> int:
    """Threads of an inline backend for which `threads` are asked: by default torch's, but no more than processors may be used.

    Raises UserError for an invalid number.
    """
    if threads is None:
        return min(torch.get_num_threads(), cpus_here())
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise UserError(f"backend.threads {threads!r} is not a number of threads: give 1 or more, or null for the machine's.")
    return threads


class InlineBackend:
    """A single worker in this process. Raises UserError for a missing device or an invalid number of threads."""

    def __init__(self, device: str = "cpu", make_evaluator: MakeEvaluator = Evaluator, threads: int | None = None) -> None:
        """`threads` is the number of torch's threads while it runs; None: as many as the machine gives."""
        check_device(device)
        self._threads = inline_threads(threads)
        self._device = device
        self._make_evaluator = make_evaluator
        self._view = WorkerView("inline", host(), device, (), None, time.monotonic(), 0, 0)

    def capacity(self) -> int:
        """One."""
        return 1

    def run(self, scheduler: Scheduler) -> Iterator[BatchResult]:
        """Results in the order in which batches are handed out. Raises UserError if this process has lost its GPU."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            yield from self._run(scheduler)
        finally:
            torch.set_num_threads(before)

    def workers(self) -> tuple[WorkerView, ...]:
        """This process."""
        return (self._view,)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def __enter__(self) -> InlineBackend:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _run(self, scheduler: Scheduler) -> Iterator[BatchResult]:
        evaluator = self._make_evaluator(self._device)
        available = AvailableWorker("inline", self._device, memory=device_memory(self._device, 1.0))
        while (task := scheduler.next(available, 1)) is not None or not scheduler.over:
            if task is None:
                drawing = scheduler.next_drawing(available)
                if drawing is not None:
                    scheduler.drawn(drawing, attempt_drawing(evaluator, drawing))
                continue
            self._show(task.batch, ())
            answer = attempt(evaluator, task.batch)
            if isinstance(answer, BatchFailure) and is_broken(self._device):
                # Every further batch of this process would be recorded as failed.
                raise UserError(
                    f"the GPU can no longer be used by this process ({answer.message}): run the same command again; "
                    "everything finished is kept."
                )
            result = scheduler.done(task, answer, self._device)
            self._show(None, result.results if result else ())
            if result is not None:
                if result.resource_use is not None:
                    available = replace(available, models=result.resource_use.models)
                yield result.of("inline")

    def _show(self, batch: Batch | None, results: tuple[CellResult, ...]) -> None:
        cells = self._view.cells + len(results)
        self._view = replace(self._view, batch=batch, since=time.monotonic(), cells=cells)
