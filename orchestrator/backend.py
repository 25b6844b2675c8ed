"""Where batches run: the contract, and the backend that runs them in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Protocol, runtime_checkable

from orchestrator.batching import Batch
from orchestrator.evaluate import BatchResult, Evaluator
from orchestrator.outcomes import failed_batch, one_line
from orchestrator.provenance import Provenance

_log = logging.getLogger(__name__)


@runtime_checkable
class BatchEvaluator(Protocol):
    """What a worker needs: batches in, results out."""

    def evaluate(self, batch: Batch) -> BatchResult:
        """One record a cell."""
        ...


MakeEvaluator = Callable[[str], BatchEvaluator]
"""Makes a worker's evaluator for a device; picklable. `Evaluator` itself is one."""


def guarded(evaluator: BatchEvaluator, batch: Batch, device: str) -> BatchResult:
    """What a worker runs: an evaluator that raises costs its batch, recorded as failed, and nothing else."""
    try:
        return evaluator.evaluate(batch)
    except Exception as error:
        _log.warning("an evaluator raised", exc_info=True)
        return failed_batch(batch, one_line(error), Provenance.here(device))


@runtime_checkable
class Backend(Protocol):
    """Runs batches. Every batch yields exactly one result, in any order; a batch that cannot be run yields failed records."""

    @property
    def workers(self) -> int:
        """Batches that run at the same time."""
        ...

    def run(self, batches: Iterable[Batch]) -> Iterator[BatchResult]:
        """Results as they arrive. Not to be called while another `run` of the same backend is going on."""
        ...

    def close(self) -> None:
        """Release everything; may be called twice."""
        ...

    def __enter__(self) -> Backend: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class InlineBackend:
    """One worker: this process."""

    def __init__(self, device: str = "cpu", make_evaluator: MakeEvaluator = Evaluator) -> None:
        self._device = device
        self._make_evaluator = make_evaluator

    @property
    def workers(self) -> int:
        """One."""
        return 1

    def run(self, batches: Iterable[Batch]) -> Iterator[BatchResult]:
        """Results in the order of the batches."""
        evaluator = self._make_evaluator(self._device)
        for batch in batches:
            yield guarded(evaluator, batch, self._device)

    def close(self) -> None:
        """Nothing to release."""

    def __enter__(self) -> InlineBackend:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
