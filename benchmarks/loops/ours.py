"""Our side of a comparison: import a checkpoint, run a sweep under a protocol, and note what the sampling planners saw."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import grasp_orchestrator as grasp
from planners.methods.published import cem
from planners.search.search_run import Run
from sweeps.cli.main import main
from world_models.datasets.problems.drawing import RecordedSource
from world_models.datasets.problems.settings import RecordedProblems


@dataclass
class Seen:
    """Costs `costs[seed][iteration]` of each planning seed's samples, and the samples themselves."""

    costs: dict[int, list[Tensor]] = field(default_factory=dict)
    plans: dict[int, list[Tensor]] = field(default_factory=dict)

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note what the published CEM draws and finds."""
        kept = cem.evaluate_plans

        def noting(run: Run, plans: Tensor) -> Tensor:
            cost = kept(run, plans)
            for row, seed in enumerate(run.seeds):
                self.costs.setdefault(seed, []).append(cost[row].clone())
                self.plans.setdefault(seed, []).append(plans[row].clone())
            return cost

        cem.evaluate_plans = noting
        try:
            yield
        finally:
            cem.evaluate_plans = kept


def imported(checkpoint: Path, output: Path, task: str, words: Sequence[str]) -> Path:
    """The folder of a checkpoint's import by `grasp models import`, which may have been made before."""
    folder = output / "models" / checkpoint.name
    if not folder.exists():
        given = ["models", "import", str(checkpoint), "--name", checkpoint.name, "--task", task, *words, f"output={output}"]
        assert main(given) == 0, f"{checkpoint} could not be imported"
    return folder


def planned(output: Path, batch: int, words: Sequence[str]) -> tuple[pd.DataFrame, RecordedProblems]:
    """The cells of a sweep whose batches have a size, by their seeds, and the problems that it drew."""
    torch.set_num_threads(1)
    run = ["backend=inline", "backend.threads=1", "tracking.enabled=false", "artifacts.cells=[]", f"max_rows={batch}"]
    found = grasp.sweep(*run, *words, output=output, quiet=True, replan=True, even_batches=True, target_seconds=100_000)
    (entry,) = [each for each in found.grid.entries if each.planner.split(" ")[0] != "random_actions"]
    cells = found.cells(lists=True)
    cells = cells[cells["point_id"] == entry.point.point_id].set_index("seed").sort_index()
    assert entry.point.problems is not None
    assert cells["batch_size"].to_numpy().max() <= batch
    return cells, entry.point.problems


def rows_of(task: Any, problems: RecordedProblems, horizon: int, seeds: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Episode and row at which each problem starts."""
    listed = RecordedSource.open(task, problems, horizon).problems
    return {seed: (listed.at(seed).episode, listed.at(seed).start) for seed in seeds}


def actions_of(cells: pd.DataFrame, seed: int, size: int = 2) -> np.ndarray:
    """Executed environment actions of a cell `[time, action]`."""
    return np.asarray(cells.at[seed, "actions"], np.float64).reshape(-1, size)
