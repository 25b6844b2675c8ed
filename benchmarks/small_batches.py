"""Time per plan by the number of problems planned together: GRASP's defaults at 50 steps, with the kernel and without.

At most 30,000 model evaluations per problem. CPU seconds of one thread, execution in the simulator included, with
`precision=high`, the default. The last line is JSON; `alone` is the time of a problem planned alone over that of one in the
largest batch.

With bfloat16, `speedup_N` is the time in torch's float32 (`highest`) over that with the kernel for N problems per batch, on the
task where it is smallest. Without (`GRASP_KERNEL=avx2` turns bfloat16 off), it is the time of revision c07e30c in torch's
float32, run from a worktree in the same job, over ours, both tasks together, and left out where git lacks that revision.
`vs_cem_B1` is our time per problem planned alone over that of a plain CEM: 300 samples, 30 iterations, a loop over the model's
layers in torch's float32, without execution.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

import torch

from benchmarks.revisions import checked_out, output_of
from orchestrator.core.batch import Batch
from orchestrator.core.cell import Point
from orchestrator.workers.evaluator import Evaluator
from sweeps.config.jobs import read_job
from sweeps.config.schema.configs import SweepConfig
from world_models.checkpoints.store import load
from world_models.models.mlp import ResidualMLP
from world_models.native.mlp import kernel_words, mlp_kernel

HORIZON = 50
EVALUATIONS = 30_000
PRECISIONS = ("high", "highest")
EARLIER = "c07e30c"
EARLIER_SECONDS = """
import sys, torch
from benchmarks.small_batches import each, planned
torch.set_num_threads(1)
print(each(planned(sys.argv[1], "highest"), *map(int, sys.argv[2:])))
"""
SAMPLES, ITERATIONS, ELITES = 300, 30, 30

Seconds = dict[tuple[str, int], float]
"""CPU seconds per problem, by task and problems per batch."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each task and size, then the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["push_t", "wall"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[1, 4, 16, 64], help="problems per batch")
    parser.add_argument("--problems", type=int, default=64, help="problems planned at each size, at least one batch")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    kernel = mlp_kernel()
    print(kernel_words())
    with checked_out(EARLIER) as earlier:
        against_earlier = isinstance(kernel, str) or not kernel.unit.bfloat16
        if against_earlier and earlier is None:
            print(f"the repository lacks revision {EARLIER}: the comparison with it is left out")
        ours: Seconds = {}
        plain: Seconds = {}
        for task in args.tasks:
            for size in args.sizes:
                problems = max(1, args.problems // size) * size
                ours[task, size] = each(planned(task, "high"), size, problems)
                if not against_earlier:
                    plain[task, size] = each(planned(task, "highest"), size, problems)
                elif earlier is not None:
                    words = (task, str(size), str(problems))
                    plain[task, size] = float(output_of(earlier, EARLIER_SECONDS, *words))
                say(task, size, ours[task, size], plain.get((task, size)), EARLIER if against_earlier else "in float32")
    least, most = min(args.sizes), max(args.sizes)
    figures: dict[str, object] = {}
    if plain:
        speedup = together if against_earlier else smallest
        figures |= {f"speedup_{size}": round(speedup(plain, ours, args.tasks, size), 2) for size in args.sizes}
    if 1 in args.sizes:
        cem = sum(cem_seconds(planned(task, "highest").model) for task in args.tasks)
        figures["vs_cem_B1"] = round(sum(ours[task, 1] for task in args.tasks) / cem, 3)
    alone = {task: round(ours[task, least] / ours[task, most], 2) for task in args.tasks}
    table = {task: {size: round(ours[task, size], 4) for size in args.sizes} for task in args.tasks}
    print(json.dumps(figures | {"alone": alone, "seconds": table, "problems": args.problems}))
    return 0


def say(task: str, size: int, ours: float, plain: float | None, name: str) -> None:
    """Print the line of a task and size."""
    beside = "" if plain is None else f", {name} {plain:.3f} s ({plain / ours:.1f} times)"
    print(f"{task}, {size} together: {ours:.3f} s per plan{beside}", flush=True)


def smallest(plain: Seconds, ours: Seconds, tasks: Sequence[str], size: int) -> float:
    """The speed-up on the task where it is smallest."""
    return min(plain[task, size] / ours[task, size] for task in tasks)


def together(plain: Seconds, ours: Seconds, tasks: Sequence[str], size: int) -> float:
    """The speed-up over all tasks, a problem of each."""
    return sum(plain[task, size] for task in tasks) / sum(ours[task, size] for task in tasks)


@torch.no_grad()
def cem_seconds(name: str, rounds: int = 3) -> float:
    """CPU seconds in which a plain CEM plans one problem on a model, at best."""
    model = load(name).model
    assert isinstance(model, ResidualMLP)
    generator, seconds = torch.Generator().manual_seed(0), []
    for _ in range(rounds):
        start, goal = torch.randn(2, *model.state_shape, generator=generator)
        began = time.process_time()
        mean, std = torch.zeros(HORIZON, model.action_dim), torch.ones(HORIZON, model.action_dim)
        for _ in range(ITERATIONS):
            actions = (mean + std * torch.randn(SAMPLES, *mean.shape, generator=generator)).clamp(-1, 1)
            state = start.expand(SAMPLES, -1)
            for t in range(HORIZON):
                state = torch.addcmul(state, model.delta_scale, model.delta(state, actions[:, t]))
            best = actions[(state - goal).square().mean(1).topk(ELITES, largest=False).indices]
            mean, std = best.mean(0), best.std(0)
        seconds.append(time.process_time() - began)
    return min(seconds)


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
