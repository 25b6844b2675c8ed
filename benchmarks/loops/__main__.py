"""Whole evaluations beside upstream's: `python -m benchmarks.loops FOLDER [--protocols lewm,grasp_75]`.

FOLDER keeps the dataset, the checkpoints and our outputs, and is made if it is missing. Upstream's loop and ours plan the same
rows of a dataset of TwoRoom by the same solver from the same noise. Then ours plans them again in batches of 1, 16 and 64. The
last line is one JSON object. It needs what `benchmarks.loops.upstream_swm` says.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
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
MODELS = ("random", "trained")
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


@dataclass(frozen=True)
class OurNoise:
    """The numbers that our CEM draws for a problem, as upstream's solver takes them (`upstream_swm.Noise`)."""

    seed: int
    shape: tuple[int, int, int]
    """Samples, model steps, and numbers of an action."""
    plans: dict[int, RowNoise] = field(default_factory=dict)

    def __call__(self, plan: int, iteration: int) -> torch.Tensor:
        """The numbers of an iteration of a plan."""
        if plan not in self.plans:
            self.plans[plan] = RowNoise([planning_seed(self.seed, plan)], "samples", self.shape, torch.empty(0))
        return self.plans[plan].at(iteration)


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
    noise = partial(OurNoise, shape=(SAMPLES, offset // 5, 10))
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


def names_of(known: Collection[str], text: str) -> list[str]:
    """The names in a text such as `lewm,grasp_75`, all of which must be known."""
    names = text.split(",")
    if unknown := set(names) - set(known):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is unknown: give some of {','.join(known)}.")
    return names


def main() -> None:
    """Compare what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--protocols", type=partial(names_of, OFFSETS), default=list(OFFSETS))
    parser.add_argument("--models", type=partial(names_of, MODELS), default=MODELS)
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
        compare(folder, protocol, kind, options.problems, batches) for protocol in options.protocols for kind in options.models
    ]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
