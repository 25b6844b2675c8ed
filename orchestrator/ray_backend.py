"""Batches on Ray actors that keep their world model loaded. The only file that imports ray."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from orchestrator.backend import MakeEvaluator
from orchestrator.batching import Batch
from orchestrator.evaluate import BatchResult, Evaluator


@dataclass(frozen=True)
class RayConfig:
    """Which cluster, and how many actors of which size. None: as many as fit."""

    address: str | None = None
    """`host:port` or `auto` of a running cluster; None starts one on this machine."""
    num_workers: int | None = None
    cpus_per_worker: float | None = None
    gpus_per_worker: float | None = None


class RayBackend:
    """A pool of Ray actors, started when first needed (`start`, `run`, or `workers` of a remote cluster)."""

    def __init__(self, config: RayConfig | None = None, make_evaluator: MakeEvaluator = Evaluator) -> None:
        self._config = config or RayConfig()
        self._make_evaluator = make_evaluator

    @property
    def workers(self) -> int:
        """Number of actors."""
        raise NotImplementedError

    def start(self) -> None:
        """Start or join the cluster (3-5 s); UserError when it cannot be reached. Does nothing when started."""
        raise NotImplementedError

    def run(self, batches: Iterable[Batch]) -> Iterator[BatchResult]:
        """Results as they arrive."""
        raise NotImplementedError

    def close(self) -> None:
        """End the actors, and the cluster if we started it."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
