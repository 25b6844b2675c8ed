"""Worth of `grasp tune` on Push-T and the wall at 50 steps: its speed, the cells that pruning saves, the gain of tuning.

- `speedup_mixed`: trials per minute as shipped, over those of one trial at a time on the same actors (same settings in the same
  order, pruning on in both; the start of the actors is not counted). `speedup_cells`: the same in cells, since trials that run
  together are pruned later. With `--single-minutes` the slow side is timed for its first trials only. Those take more cells
  than later ones, since there is no good leader yet: `speedup_mixed` is then too high, and `speedup_cells` is the one to trust.
- `pruning_saving`: share of an unpruned study's cells that the pruned one, with as many trials, did not plan; `pruning_cost`:
  held-out cost of its winner minus that of the unpruned study's winner, paired, with a 95 % interval.
- `gain`: held-out success of the pruned study's winner minus that of the author's published settings, paired, with a 95 %
  interval. The tuned planner may spend half as many model evaluations as the author's settings do.
- `tpe_minus_random`: the same between the winners of unpruned studies, which plan equally many cells, over some studies of each
  sampler. The interval is over problems only: the variation between studies shows in the rates of each.

The last line is JSON: each figure of the task where it is worse, then those of both tasks.

Words before the options are Hydra overrides for every study, e.g. `max_rows=256` on a GPU.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import CellResult, from_table
from orchestrator.tuning.objectives import cost
from orchestrator.tuning.optuna_study import OptunaStudy
from orchestrator.tuning.trials import State
from orchestrator.workers.ray_cluster import connect
from sweeps.analysis.intervals import Paired
from sweeps.analysis.point_cells import records_of
from sweeps.config.jobs import read_job
from sweeps.config.schema.configs import SweepConfig
from sweeps.running.sweep import sweep
from sweeps.tuning.report import WINNER
from sweeps.tuning.spec import StudySpec, read_study
from sweeps.tuning.study_run import StudyRun, driver_id
from sweeps.tuning.tune import tune

TASKS = {"push_t": {"sync": "auto", "reached_cost": 0.0005}, "wall": {"sync": "gd", "reached_cost": 0.005}}
"""Settings that are not tuned: the solver of the syncs, and the cost that counts as reached, in the model's units."""
COMMON = {"attempts": 4, "max_evaluations": 30000, "finish_cost": 0.0001}
"""Settings of all studies; the author's settings spend 62,650 model evaluations per problem."""
HORIZON = 50
DAY = 24 * 60.0
"""Minutes in a day: longer than any study here takes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both tasks and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--speed-trials", type=int, default=60)
    parser.add_argument("--only-speed", action="store_true", help="measure speedup_mixed and nothing else")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument(
        "--single-minutes", type=float, default=DAY, help="minutes to time single trials for (default: to their end)"
    )
    parser.add_argument("--samplings", type=int, default=3, help="unpruned studies of each sampler (default: 3)")
    parser.add_argument(
        "--output", type=Path, help="folder to keep everything in, and to resume from (default: a temporary one)"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="overrides for all studies, as `grasp tune` takes them"
    )
    args = parser.parse_args(arguments)
    folder = args.output or Path(tempfile.mkdtemp(prefix="grasp-tuning-"))
    connect(None)
    figures = {}
    try:
        for task in args.tasks:
            figures[task] = speed(task, folder / task, args.speed_trials, args.overrides, args.single_minutes)
            if not args.only_speed:
                figures[task] |= gains(task, folder / task, args.trials, args.samplings, args.overrides)
            print(json.dumps({task: figures[task]}), flush=True)
    finally:
        if args.output is None:
            shutil.rmtree(folder)
    if args.only_speed:
        slowest = min(figures.values(), key=lambda each: each["speedup_mixed"])
        print(json.dumps(slowest | {"trials": args.speed_trials, "tasks": figures}))
    else:
        print(json.dumps(lowest_of(figures) | {"trials": args.trials, "tasks": figures}))
    return 0


def speed(task: str, folder: Path, trials: int, overrides: Sequence[str], single_minutes: float) -> dict[str, Any]:
    """Speeds as shipped and of one trial at a time: in trials, and in cells, since trials that are pruned later take more."""
    drawn = [f"trials={trials}", "sampler.name=random", *overrides]
    mixed = pace(words(task, folder / "mixed", *drawn), DAY)
    single = pace(words(task, folder / "single", *drawn, "parallel=1"), single_minutes)
    return {
        "speedup_mixed": round(mixed.trials_per_minute / single.trials_per_minute, 2),
        "speedup_cells": round(mixed.cells_per_minute / single.cells_per_minute, 2),
        "trials_a_minute": [round(mixed.trials_per_minute, 2), round(single.trials_per_minute, 2)],
        "cells_a_minute": [round(mixed.cells_per_minute, 1), round(single.cells_per_minute, 1)],
        "timed_trials": [mixed.trials, single.trials],
        "timed_cells": [mixed.cells, single.cells],
        "device": mixed.device,
    }


def gains(task: str, folder: Path, trials: int, samplings: int, overrides: Sequence[str]) -> dict[str, Any]:
    """The cells that pruning saves, and the gain of tuning."""
    said = Console(stderr=True)
    more = {"pruned": ["sampler.seed=0"]}
    for name in ("tpe", "random"):
        more |= {f"{name}-{seed}": [f"sampler.name={name}", f"sampler.seed={seed}"] for seed in range(samplings)}
    runs = {
        name: words(task, folder / name, f"trials={trials}", f"pruning.enabled={name == 'pruned'}", *overrides, *own)
        for name, own in more.items()
    }
    for arguments in runs.values():
        code = tune(arguments, said)
        assert code == 0
    published = published_cells(task, folder / "published", overrides, said)
    winners = {name: held_out(arguments) for name, arguments in runs.items()}
    cells = {name: planned(read_study(arguments, None)) for name, arguments in runs.items()}
    gained = compare(winners["pruned"], published)
    by_sampler = {name: [winners[f"{name}-{seed}"] for seed in range(samplings)] for name in ("tpe", "random")}
    tpe, at_random = by_sampler.values()
    against, between = mean_gap([successes(tpe, seed) - successes(at_random, seed) for seed in published])
    difference, interval = mean_gap([cost(a) - cost(b) for a, b in pairs(winners["pruned"], winners["tpe-0"])])
    return {
        "pruning_saving": round(1 - cells["pruned"] / cells["tpe-0"], 3),
        "cells": cells,
        "pruning_cost": [round(difference, 4), *(round(end, 4) for end in interval)],
        "gain": [round(gained.difference or 0.0, 3), *(round(end, 3) for end in gained.interval)],
        "published": success(published),
        "tuned": success(winners["pruned"]),
        **{name: [success(each) for each in found] for name, found in by_sampler.items()},
        "tpe_minus_random": [round(against, 3), *(round(end, 3) for end in between)],
        "held_out": len(published),
    }


def successes(studies: Sequence[dict[int, CellResult]], seed: int) -> float:
    """Share of the studies whose winner solves the problem of a seed."""
    return float(np.mean([cells[seed].success for cells in studies]))


def words(task: str, folder: Path, *more: str) -> list[str]:
    """A study's overrides: it starts from the author's settings, and some settings are fixed."""
    fixed = [f"planners.grasp_published.settings.{key}={value}" for key, value in {**COMMON, **TASKS[task]}.items()]
    condition = [f"task={task}", f"horizons={HORIZON}", "planner=grasp_published", "name=study", "top=3"]
    return [*condition, *fixed, "tracking.enabled=false", f"output={folder}", *more]


@dataclass(frozen=True)
class Pace:
    """Speed of a study from the start of its first batch to the last cell of an ended trial."""

    trials: int
    """Number of trials that ended."""
    cells: int
    """Number of cells of those trials."""
    minutes: float
    device: str

    @property
    def trials_per_minute(self) -> float:
        """Trials per minute."""
        return self.trials / self.minutes

    @property
    def cells_per_minute(self) -> float:
        """Cells per minute."""
        return self.cells / self.minutes


def pace(overrides: Sequence[str], most: float) -> Pace:
    """The pace of a study that is stopped after `most` minutes; the start of the actors is left out."""
    spec = read_study(overrides, None)
    spec.outputs.prepare()
    run = StudyRun(spec, Console(stderr=True))
    timer = threading.Timer(60 * most, run.stop.set)
    timer.start()
    try:
        run.run()
    finally:
        timer.cancel()
    ended = [view for view in run.study.views() if view.state in (State.COMPLETE, State.PRUNED)]
    points = {point for view in ended for point in view.notes.get("points", ())}
    columns = ["point_id", "finished_at", "batch_seconds", "device"]
    every = Ledger(spec.outputs.ledger).table(columns=columns).to_pylist()
    rows = [row for row in every if row["point_id"] in points]
    began = min(row["finished_at"] - timedelta(seconds=row["batch_seconds"]) for row in every)
    minutes = (max(row["finished_at"] for row in rows) - began).total_seconds() / 60
    return Pace(len(ended), len(rows), minutes, rows[0]["device"])


def planned(spec: StudySpec) -> int:
    """Number of cells that the trials of a study have requested."""
    study = OptunaStudy(spec.location, spec.definition, driver_id(spec.outputs), spec.sampling, spec.pruning)
    last = len(spec.instances)
    return sum(sum(step < last for step in view.steps) for view in study.views())


def held_out(overrides: Sequence[str]) -> dict[int, CellResult]:
    """The winner's results on the held-out seeds, by seed."""
    spec = read_study(overrides, None)
    winner = json.loads((spec.outputs.study("study") / WINNER).read_text())["candidates"][0]
    grid = spec.candidates("study", {"winner": winner["settings"]}, spec.seed_split.held_out)
    found = from_table(records_of(grid, Ledger(spec.outputs.ledger)))
    (point,) = spec.points(winner["settings"])
    return {record.seed: record for record in found if record.point_id == point.point_id}


def published_cells(task: str, folder: Path, overrides: Sequence[str], said: Console) -> dict[int, CellResult]:
    """The results of the author's unchanged settings on the held-out seeds, by seed."""
    spec = read_study(words(task, folder), None)
    seeds = ",".join(map(str, spec.seed_split.held_out))
    arguments = [f"task={task}", f"horizons={HORIZON}", "planner=grasp_published", "name=published", "tracking.enabled=false"]
    arguments += [f"output={folder}", f"seeds=[{seeds}]", *overrides]
    assert sweep(arguments, said) == 0
    job = read_job(SweepConfig, arguments, None)
    return {record.seed: record for record in from_table(records_of(job.grid, Ledger(job.outputs.ledger)))}


def pairs(one: dict[int, CellResult], other: dict[int, CellResult]) -> list[tuple[CellResult, CellResult]]:
    """The results of both on the same problem, ordered by seed."""
    assert one.keys() == other.keys()
    return [(one[seed], other[seed]) for seed in sorted(one)]


def compare(one: dict[int, CellResult], other: dict[int, CellResult]) -> Paired:
    """Paired comparison of successes."""
    both = pairs(one, other)
    return Paired(
        len(both), sum(a.success and not b.success for a, b in both), sum(b.success and not a.success for a, b in both)
    )


def success(cells: dict[int, CellResult]) -> float:
    """Success rate."""
    return round(sum(record.success for record in cells.values()) / len(cells), 3)


def mean_gap(gaps: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Mean, with a 95 % interval by the percentile bootstrap."""
    values = np.array(gaps)
    draws = values[np.random.default_rng(0).integers(0, len(values), (10_000, len(values)))].mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(values.mean()), (float(low), float(high))


def lowest_of(figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Each figure of the task where it is worse, by name."""
    least = ("speedup_mixed", "speedup_cells", "pruning_saving")
    found: dict[str, Any] = {name: min(each[name] for each in figures.values()) for name in least}
    found["pruning_cost"] = max((each["pruning_cost"] for each in figures.values()), key=lambda three: three[0])
    for name in ("gain", "tpe_minus_random"):
        found[name] = min((each[name] for each in figures.values()), key=lambda three: three[0])
    return found


if __name__ == "__main__":
    raise SystemExit(main())
