"""Evaluators that run out of GPU memory or break the GPU; workers must be able to import them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from orchestrator.artifacts.drawing import Drawing, Drawn
from orchestrator.core.batch import Batch
from orchestrator.core.cell import Named, Point
from orchestrator.workers.evaluator import BatchResult, Evaluator
from planners import Scalar
from world_models.checkpoints.store import read_card

BREAKS_ONCE = 7001
"""A seed that breaks the GPU of the first process that plans it."""
HUNGRY = range(8000, 9000)
"""Seeds that each take `HUNGER` of the GPU's memory."""
HUNGER = 0.15


def zoo_point(model: str, planner: str, settings: dict[str, Scalar], horizon: int = 10, mode: str = "open_loop") -> Point:
    """A point of a model of the zoo, on the task that it was trained for."""
    card, digest = read_card(model)
    dynamics = card["dynamics"]
    assert isinstance(dynamics, dict)
    task = {key: value for key, value in dynamics.items() if key != "name"}
    if dynamics["name"] == "wall":
        task["kind"] = "free"  # the quickest to draw
    return Point(Named.of(dynamics["name"], task), model, digest, Named.of(planner, settings), horizon, mode)


@dataclass(frozen=True)
class Troubled:
    """Makes evaluators that fail on the seeds above; the file `mark` records what was already broken."""

    mark: str

    def __call__(self, device: str) -> TroubledEvaluator:
        return TroubledEvaluator(device, Path(self.mark))


class TroubledEvaluator:
    def __init__(self, device: str, mark: Path) -> None:
        self._device, self._mark = torch.device(device), mark
        self._evaluator = Evaluator(device)

    def evaluate(self, batch: Batch) -> BatchResult:
        if BREAKS_ONCE in batch.seeds and not self._mark.exists():
            self._mark.touch()
            # An assertion in the kernel fails, and with it every later call of this process.
            index = torch.tensor([9], device=self._device)
            torch.zeros(1, device=self._device)[index].cpu()
        eaten = [self._allocate() for seed in batch.seeds if seed in HUNGRY]
        if self._device.type == "cpu" and len(eaten) * HUNGER > 0.5:
            raise MemoryError("no room")
        result = self._evaluator.evaluate(batch)
        del eaten
        return result

    def draw(self, drawing: Drawing) -> Drawn:
        return self._evaluator.draw(drawing)

    def _allocate(self) -> torch.Tensor:
        whole = torch.cuda.mem_get_info()[1] if self._device.type == "cuda" else 1
        return torch.empty(int(HUNGER * whole), dtype=torch.uint8, device=self._device)
