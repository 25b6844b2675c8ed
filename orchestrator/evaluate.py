"""From a batch of cells to results: problems, planning in the model, execution in the simulator, success in both."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.artifacts import Artifact
from orchestrator.batching import Batch
from orchestrator.cells import Point
from orchestrator.records import CellResult


@dataclass(frozen=True)
class BatchResult:
    """What became of a batch: one record a cell, and the pictures that were asked for."""

    results: tuple[CellResult, ...]
    artifacts: tuple[Artifact, ...] = ()


def check_point(point: Point) -> None:
    """UserError unless the point can be planned: task, planner, settings, horizon, mode, and a model that fits."""
    raise NotImplementedError


class Evaluator:
    """Evaluates batches on one device; a world model is loaded once."""

    def __init__(self, device: str = "cpu") -> None:
        self._device = device

    def evaluate(self, batch: Batch) -> BatchResult:
        """One record a cell; an exception becomes failed records with one line of error."""
        raise NotImplementedError
