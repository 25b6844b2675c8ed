"""Success of recorded Push-T plans under both tests: ours, by the block's centre of gravity, and everybody's, by its origin.

    python -m benchmarks.push_t_tests OUTPUT

Executes the actions of every cell of `push_t` in OUTPUT's ledger once more, and judges the same final states by both tests. A
row per planner, horizon, mode and settings; the last line of output is one JSON object with `cells`, `verdicts_that_differ` and
`repeated`, the share of cells whose recorded success the execution repeats.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from orchestrator.core.cell import digest
from orchestrator.ledger.ledger import Ledger
from sweeps.analysis.intervals import Rate
from world_models.tasks import execute, make_task
from world_models.tasks.base import pose_of

COLUMNS = ("task", "task_settings", "planner", "planner_settings", "horizon", "mode", "problems", "seed", "status", "success")
FURTHER = ("success_rule", "actions")
Cell = Mapping[str, Any]


@dataclass(frozen=True)
class Judged:
    """The cells of a point under both tests."""

    recorded: Bool[np.ndarray, " cells"]
    ours: Bool[np.ndarray, " cells"]
    """By the centre of gravity, executed again."""
    theirs: Bool[np.ndarray, " cells"]
    """By the body's origin."""

    @property
    def texts(self) -> tuple[str, str, str]:
        """Both rates with their intervals, and the number of verdicts that differ."""
        rates = [Rate(int(each.sum()), len(each)).text for each in (self.ours, self.theirs)]
        return rates[0], rates[1], str(int((self.ours != self.theirs).sum()))


def main(words: Sequence[str] | None = None) -> None:
    """Print the table and the object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path, help="the output folder of sweeps of push_t")
    points = push_t_points(Ledger(parser.parse_args(words).output / "ledger"))
    found = {name: judged(cells) for name, cells in sorted(points.items())}
    print(f"{'planner':18} {'H':>4} {'mode':10} {'settings':8} {'ours':>20} {'everybody':>20} differ")
    for (planner, horizon, mode, settings), each in found.items():
        ours, theirs, differ = each.texts
        print(f"{planner:18} {horizon:>4} {mode:10} {settings:8} {ours:>20} {theirs:>20} {differ:>6}")
    cells = sum(len(each.ours) for each in found.values())
    differ = sum(int((each.ours != each.theirs).sum()) for each in found.values())
    repeated = sum(int((each.ours == each.recorded).sum()) for each in found.values()) / max(cells, 1)
    print(json.dumps({"cells": cells, "verdicts_that_differ": differ, "repeated": repeated}))


def push_t_points(ledger: Ledger) -> dict[tuple[str, int, str, str], list[Cell]]:
    """The cells of `push_t` whose problems the task drew and that are judged at their end, by point."""
    points: dict[tuple[str, int, str, str], list[Cell]] = defaultdict(list)
    for row in ledger.table(columns=[*COLUMNS, *FURTHER]).to_pylist():
        if row["task"] == "push_t" and row["status"] != "failed" and (row["problems"], row["success_rule"]) == (None, None):
            settings = digest([row["planner_settings"], row["task_settings"]], 4)
            points[row["planner"], row["horizon"], row["mode"], settings].append(row)
    return points


def judged(cells: Sequence[Cell]) -> Judged:
    """The final states of some cells of a point, under both tests."""
    horizon = cells[0]["horizon"]
    ours, theirs = make_task("push_t", **json.loads(cells[0]["task_settings"])), make_task("push_t_upstream")
    problems = [ours.problem(cell["seed"], horizon) for cell in cells]
    actions = np.array([cell["actions"] for cell in cells], np.float64).reshape(len(cells), horizon, ours.action_dim)
    ends = execute(ours, problems, actions).states[:, -1]
    goals = np.stack([problem.goal for problem in problems])
    by_both = [task.reached(pose_of(task, ends), pose_of(task, goals)) for task in (ours, theirs)]
    return Judged(np.array([cell["success"] for cell in cells]), *by_both)


if __name__ == "__main__":
    main()
