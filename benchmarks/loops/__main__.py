"""Whole evaluations beside upstream's: `python -m benchmarks.loops FOLDER [--protocols lewm,grasp_75]`.

FOLDER keeps the dataset, the checkpoints and our outputs, and is made if it is missing. Upstream's loop and ours plan the same
rows of a dataset of TwoRoom by the same solver from the same noise. Then ours plans them again in batches of 1, 16 and 64. The
last line is one JSON object. It needs what `benchmarks.loops.upstream_swm` says.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from benchmarks.loops import small_lewm, upstream_swm
from benchmarks.loops.compare import Loop, Plan, as_plans, changed_bits, compared, double
from benchmarks.loops.ours import Seen, actions_of, imported, planned, rows_of
from orchestrator.evaluation.execution import planning_seed
from planners.search.noise import RowNoise
from world_models.tasks import make_task

LATENT, STEPS = 32, 80
SAMPLES, ITERATIONS, ELITES = 64, 8, 6
BATCHES = (1, 16, 64)
OFFSETS = {"lewm": (25, 50), "grasp_75": (75, 75)}
"""Environment steps to the goal, which a plan covers, and of the budget."""


def checkpoint(folder: Path, kind: str) -> Path:
    """The folder of a model of theirs, saved by their code: with random weights, or trained."""
    name = f"{kind}-tworoom"
    path = folder / "checkpoints" / name
    if not path.exists():
        config = upstream_swm.small_lewm(LATENT)
        torch.manual_seed(0)
        model = upstream_swm.made(config)
        model = _random(model) if kind == "random" else small_lewm.train(model, folder / "rooms.h5", STEPS)
        upstream_swm.saved(model.eval(), config, folder, name)
    return path


def _random(model: torch.nn.Module) -> torch.nn.Module:
    """Every weight drawn, for a fresh predictor ignores actions."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1:
                value.copy_(torch.randn_like(value) / max(1, value[0].numel()) ** 0.5)
            else:
                value.copy_(0.2 * torch.randn_like(value) + float(name.endswith("weight")))
        for name, value in model.named_buffers():
            if name.endswith("running_var"):
                value.copy_(0.5 + torch.rand_like(value))
    return model


def compare(folder: Path, protocol: str, kind: str, problems: int, batches: tuple[int, ...]) -> dict[str, object]:
    """One protocol and model by both loops, and ours in other batches."""
    offset, budget = OFFSETS[protocol]
    data = folder / "rooms.h5"
    path = checkpoint(folder, kind)
    mean, std = (",".join(f"{x:.9g}" for x in each) for each in small_lewm.statistics(data))
    model = imported(path, folder, "two_room", [f"--action-mean={mean}", f"--action-std={std}"])
    words = [
        *("task=two_room", "tasks.two_room.settings.action_block=5", f"world_model={model}", f"problems.data={data}"),
        *(f"protocol={protocol}", f"protocols.{protocol}.draw.rows={problems}", f"seeds={problems}", "planner=cem_swm"),
        *(f"planners.cem_swm.settings.{key}" for key in (f"samples={SAMPLES}", f"iterations={ITERATIONS}", f"elites={ELITES}")),
    ]
    seen, began = Seen(), time.perf_counter()
    with seen.noted():
        cells, drawn = planned(folder / f"{protocol}-{kind}-{batches[0]}", batches[0], words)
    runs = {batches[0]: cells}
    runs |= {batch: planned(folder / f"{protocol}-{kind}-{batch}", batch, words)[0] for batch in batches[1:]}
    seconds, began = time.perf_counter() - began, time.perf_counter()
    task, seeds = make_task("two_room", action_block=5), range(problems)
    rows = rows_of(task, drawn, budget, seeds)
    shape = (SAMPLES, offset // 5, 10)

    def noise(seed: int) -> upstream_swm.Noise:
        drawn: dict[int, RowNoise] = {}

        def at(plan: int, iteration: int) -> torch.Tensor:
            like = torch.empty(0)
            return drawn.setdefault(plan, RowNoise([planning_seed(seed, plan)], "samples", shape, like)).at(iteration)

        return at

    evaluation = upstream_swm.Evaluation(data, "swm/TwoRoom-v1", offset, budget, offset // 5)
    solver = upstream_swm.cem(upstream_swm.loaded(folder, path.name), SAMPLES, ITERATIONS, ELITES)
    theirs = upstream_swm.evaluate(evaluation, solver, rows, noise)
    own = {
        seed: Loop(
            bool(cells.at[seed, "success"]),
            actions_of(cells, seed),
            as_plans(seen.costs, [planning_seed(seed, plan) for plan in range(budget // offset)], LATENT),
        )
        for seed in seeds
    }
    upstream = {
        seed: Loop(
            each.success,
            each.actions,
            [Plan(double(c), e) for c, e in zip(each.watched.costs, each.watched.elites, strict=True)],
        )
        for seed, each in theirs.items()
    }
    report = compared(upstream, own).as_dict()
    bits = {batch: {seed: actions_of(cells, seed) for seed in seeds} for batch, cells in runs.items()}
    return {
        "protocol": protocol,
        "model": kind,
        "solver": f"cem_swm {SAMPLES} samples x {ITERATIONS}, top {ELITES}",
        **report,
        "final_successes": sum(cells["steps_to_success"].notna()),
        "first_hits": sum(cells["first_success"].notna()),
        "bits_differ": {batch: changed_bits(bits[batches[0]], bits[batch]) for batch in batches[1:]},
        "verdicts_flip": {batch: sum(runs[batch]["success"] != cells["success"]) for batch in batches[1:]},
        "seconds": {"ours": round(seconds, 1), "theirs": round(time.perf_counter() - began, 1)},
    }


def main() -> None:
    """Compare what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--protocols", default="lewm,grasp_75")
    parser.add_argument("--models", default="random,trained")
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "rooms.h5").exists():
        small_lewm.write_dataset(folder / "rooms.h5")
    batches = tuple(int(batch) for batch in options.batches.split(","))
    found = [
        compare(folder, protocol, kind, options.problems, batches)
        for protocol in options.protocols.split(",")
        for kind in options.models.split(",")
    ]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
