"""Time per plan by the number of problems planned together, with and without the kernel: GRASP's defaults at 50 steps.

At most 30,000 model evaluations per problem. CPU seconds of one thread, execution in the simulator included, with the kernel
(`precision=high`, the default) and in torch's float32 (`highest`). The last line is JSON: `speedup_N` is the time in float32
over that with the kernel for N problems per batch, on the task where it is smallest; `alone` is the time of a problem planned
alone over that of one in the largest batch.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

import torch

from orchestrator.core.batch import Batch
from orchestrator.core.cell import Point
from orchestrator.workers.evaluator import Evaluator
from sweeps.config.jobs import read_job
from sweeps.config.schema.configs import SweepConfig
from world_models.native.mlp import mlp_kernel

HORIZON = 50
EVALUATIONS = 30_000
PRECISIONS = ("high", "highest")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each task and size, then the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["push_t", "wall"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[1, 4, 16, 64], help="problems per batch")
    parser.add_argument("--problems", type=int, default=64, help="problems planned at each size")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if isinstance(kernel := mlp_kernel(), str):
        print(f"no kernel: {kernel}")
    seconds: dict[tuple[str, str, int], float] = {}
    for task in args.tasks:
        for size in args.sizes:
            for precision in PRECISIONS:
                seconds[task, precision, size] = each(planned(task, precision), size, args.problems)
            kernel, plain = (seconds[task, precision, size] for precision in PRECISIONS)
            print(
                f"{task}, {size} together: {kernel:.3f} s per plan, in float32 {plain:.3f} s ({plain / kernel:.1f} times)",
                flush=True,
            )
    least, most = min(args.sizes), max(args.sizes)
    figures = {
        f"speedup_{size}": round(min(seconds[task, "highest", size] / seconds[task, "high", size] for task in args.tasks), 2)
        for size in args.sizes
    }
    alone = {task: round(seconds[task, "high", least] / seconds[task, "high", most], 2) for task in args.tasks}
    table = {task: {size: round(seconds[task, "high", size], 4) for size in args.sizes} for task in args.tasks}
    print(json.dumps(figures | {"alone": alone, "seconds": table, "problems": args.problems}))
    return 0


def planned(task: str, precision: str) -> Point:
    """The default planner's point."""
    words = [f"task={task}", f"horizons={HORIZON}", "planner=grasp", "seeds=[0]", "name=small"]
    settings = {"precision": precision, "max_evaluations": EVALUATIONS}
    job = read_job(
        SweepConfig, [*words, *(f"planners.grasp.settings.{name}={value}" for name, value in settings.items())], None
    )
    (entry,) = job.grid.entries
    return entry.point


def each(point: Point, size: int, problems: int) -> float:
    """CPU seconds per problem in batches of `size`."""
    evaluator = Evaluator("cpu")
    evaluator.evaluate(Batch.of(point, (0,)))
    seeds = range(2000, 2000 + problems // size * size)
    began = time.process_time()
    for first in seeds[::size]:
        evaluator.evaluate(Batch.of(point, tuple(range(first, first + size))))
    return (time.process_time() - began) / len(seeds)


if __name__ == "__main__":
    raise SystemExit(main())
