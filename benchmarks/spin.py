"""A stand-in planner that spins for a fixed time per cell, so that the rest of a sweep's time is orchestration.

`python -m benchmarks.spin POINT SEED FOLDER` plans one cell in its own process, as an array of jobs does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from orchestrator.core.batch import Batch
from orchestrator.core.cell import Named, Point
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger
from orchestrator.testing import DIGEST, load_plane, make_plane
from orchestrator.workers.evaluator import Evaluator
from planners.base import ModelProblems, OnStep, Planner, Plans, PlanStatus, Start
from planners.search.initialisers import linear

SECONDS = 0.05
"""Time to plan a cell."""
CELLS_PER_POINT = 100


class Spin:
    """Spins `SECONDS` per problem and returns the straight line to the goal."""

    def plan(
        self,
        model: object,
        problems: ModelProblems,
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        start: Start | None = None,
    ) -> Plans:
        """Worthless plans, after exactly the time that planning should take."""
        until = time.perf_counter() + SECONDS * len(seeds)
        line = linear(model, problems)  # pyright: ignore[reportArgumentType]
        nothing = torch.zeros(len(seeds))
        plans = Plans(
            actions=line.actions,
            states=torch.cat([line.states, problems.goal.unsqueeze(1)], 1),
            cost=nothing,
            last_cost=nothing,
            status=(PlanStatus.COMPLETED,) * len(seeds),
            evaluations=nothing.long(),
            trace=nothing[:, None],
            spent=nothing[:, None].long(),
        )
        while time.perf_counter() < until:
            pass
        return plans


def make_spin(name: str, settings: Mapping[str, object]) -> Planner:
    """The stand-in, whatever the name and settings."""
    return Spin()


def spinning(device: str) -> Evaluator:
    """An evaluator whose planner spins."""
    return Evaluator(device, load_plane, make_plane, make_spin)


def points(count: int) -> list[Point]:
    """Points of a task whose problems and simulator cost next to nothing; they differ in a setting without effect."""
    return [Point(Named.of("plane"), "plane", DIGEST, Named.of("spin", {"number": i}), 10) for i in range(count)]


def one_cell(evaluator: Evaluator, point: Point, seed: int) -> BatchResult:
    """The result of one cell, without a picture."""
    return evaluator.evaluate(Batch.of(point, (seed,)))


def main(words: Sequence[str]) -> None:
    """Plan one cell in this fresh process."""
    number, seed, folder = words
    result = one_cell(spinning("cpu"), points(int(number) + 1)[-1], int(seed))
    ledger = Ledger(Path(folder) / f"{number}-{seed}")
    with ledger.writer():
        ledger.append(result.results)


if __name__ == "__main__":
    main(sys.argv[1:])
