"""Does pricing an ensemble's disagreement stop planners from exploiting a model? `python -m benchmarks.ensemble` (CPU).

The models are leaky on purpose: wall models that saw 100 short walks and next to no contact, so that planners find ways through
the wall that do not exist in the simulator. GRASP plans the same problems (open loop, H = 50, the way leads around the wall)
with each member alone, with all of them as an ensemble, and with the ensemble and a price on its disagreement. The *gap* is the
success rate in the model minus that in the simulator. The last line is JSON:
- `gap_without`, `gap_with`: the ensemble's gap without and with the price; `ratio` is the second over the first.
- `gap_single`, `ratio_single`: the same comparison with its members alone, averaged over all of them.
- `*_model`, `*_simulator`: success rates, with 95 % Wilson intervals (for members: over the plans of all of them).
- `ratio_interval`, `ratio_single_interval`: 95 % intervals of the two ratios, by bootstrap over problems.
- `slowdown`: the ensemble's planning time over a member's, with the same settings.
The price was chosen on problems other than those reported: `--choose` prints that table. Models are kept in outputs/.

Result so far: the price closes the gap by making plans cautious in the model, not by making them better. True success did not
rise (0.38 without, 0.28 with a price of 3; at a price of 1, on other problems: 0.55 and 0.48, gaps 0.44 and 0.33).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float

from orchestrator.evaluation.execution import numpy_of, plan_and_execute
from orchestrator.evaluation.wilson_interval import wilson
from planners import Planner, make_planner
from world_models.checkpoints import store as checkpoints
from world_models.checkpoints.ensemble_files import combine
from world_models.checkpoints.store import LoadedModel
from world_models.models.mlp import MLPConfig
from world_models.seeding import smooth_noise
from world_models.tasks import make_task
from world_models.tasks.base import pose_of
from world_models.tasks.wall_arena import free_points
from world_models.training.assess import goal_weights
from world_models.training.data import Dataset
from world_models.training.fit_states import FitSettings, fit, new_model

TASK = make_task("wall", kind="shallow")
HORIZON = 50
WALKS, LENGTH = 100, 100
MEMBERS = 5
PRICE = 3.0
PRICES = (0.0, 0.3, 0.6, 1.0, 2.0, 3.0)
"""The prices that `--choose` compares."""
REPORTED, CHOOSING = range(11_000, 11_064), range(20_000, 20_024)
"""Problem seeds."""
GRASP = {
    "iterations": 320, "noise": 0.6, "noise_schedule": "linear", "init_noise": 0.3, "goal_weight": 1.2, "lr_states": 0.28,
    "lr_actions": 0.045, "sync_every": 80, "sync_steps": 40, "sync_lr": 0.083,
}  # fmt: skip
"""Settings tuned for task wall, but with fewer iterations and one attempt; the same for all models."""
FOLDER = Path("outputs/benchmarks/ensemble")


@dataclass(frozen=True)
class Arm:
    """One model's plans: on which problems they succeed in the model and in the simulator."""

    name: str
    model: Bool[np.ndarray, " problems"]
    simulator: Bool[np.ndarray, " problems"]
    seconds: float

    @property
    def gap(self) -> float:
        """Success rate in the model minus that in the simulator."""
        return float(self.excess.mean())

    @property
    def excess(self) -> Float[np.ndarray, " problems"]:
        """The gap of each problem: 1, 0 or -1."""
        return self.model.astype(float) - self.simulator.astype(float)


def leaky_data() -> Dataset:
    """Short walks from random points, driven by smooth noise: they cover the space but seldom touch the wall."""
    rng = np.random.default_rng(0)
    actions = np.clip(smooth_noise(rng, WALKS, LENGTH, TASK.action_dim), -1.0, 1.0)
    states = TASK.simulate(free_points(rng, WALKS), actions)
    return Dataset(TASK.observe(states).astype(np.float32), actions.astype(np.float32))


def leaky_models() -> tuple[list[LoadedModel], LoadedModel]:
    """The members, each by itself, and the ensemble; members that are not kept in `FOLDER` yet are trained."""
    settings = FitSettings(unrolls=(1,), steps=(3000,), batch_size=256)
    data, folders = leaky_data(), [FOLDER / str(seed) for seed in range(MEMBERS)]
    card = {"dynamics": dict(TASK.dynamics), "data": {"digest": data.digest}, "training": repr(settings)}
    for seed, folder in enumerate(folders):
        if _kept(folder, card):
            continue
        print(f"training member {seed + 1} of {MEMBERS}", file=sys.stderr)
        config = MLPConfig(TASK.observation_dim, TASK.action_dim, width=256, depth=2)
        own = FitSettings(unrolls=settings.unrolls, steps=settings.steps, batch_size=settings.batch_size, seed=seed)
        model = fit(new_model(data, config, seed), data, own, torch.device("cpu"))
        checkpoints.save(folder, f"leaky {seed}", model, goal_weights(TASK, model), card)
    scale = checkpoints.read_tensors(str(folders[0]))["delta_scale"]
    ensemble = combine(FOLDER / "all", "leaky ensemble", folders, scale, lambda parts: {})
    return [checkpoints.load(str(folder)) for folder in folders], checkpoints.load(str(ensemble))


def _kept(folder: Path, card: dict[str, object]) -> bool:
    if not (folder / "card.json").is_file():
        return False
    known = checkpoints.read_card(str(folder))[0]
    return all(known.get(key) == value for key, value in card.items())


def plan(name: str, loaded: LoadedModel, planner: Planner, seeds: Sequence[int]) -> Arm:
    """Plan the problems of these seeds and execute the plans."""
    problems = tuple(TASK.problem(seed, HORIZON) for seed in seeds)
    execution = plan_and_execute(TASK, loaded, planner, problems, list(seeds))
    assert loaded.decode is not None, "state models decode"
    with torch.no_grad():
        ends = TASK.pose(numpy_of(loaded.decode(execution.predicted[:, -1])))
    goals = pose_of(TASK, np.stack([problem.goal for problem in problems]))
    arm = Arm(name, TASK.reached(ends, goals), execution.rollout.success, execution.seconds)
    print(_row(arm), flush=True)
    return arm


def _row(arm: Arm) -> str:
    model, simulator = arm.model.mean(), arm.simulator.mean()
    return f"{arm.name:34s} model {model:.2f}  simulator {simulator:.2f}  gap {arm.gap:+.2f}  {arm.seconds:6.1f} s"


def _rate(arms: Sequence[Arm], where: str) -> dict[str, float | list[float]]:
    hits = np.concatenate([getattr(arm, where) for arm in arms])
    low, high = wilson(int(hits.sum()), len(hits))
    return {"rate": round(float(hits.mean()), 4), "interval": [round(low, 4), round(high, 4)]}


def _ratio_interval(above: Float[np.ndarray, " problems"], below: Float[np.ndarray, " problems"]) -> list[float]:
    """95 % interval of the ratio of two mean gaps, by bootstrap over problems."""
    rng = np.random.default_rng(0)
    draws = rng.integers(len(above), size=(4000, len(above)))
    ratios = above[draws].mean(1) / np.maximum(below[draws].mean(1), 1e-9)
    return [round(float(x), 3) for x in np.quantile(ratios, (0.025, 0.975))]


def report(singles: Sequence[Arm], without: Arm, priced: Arm) -> dict[str, object]:
    """The figures of the last line."""
    alone = np.mean([arm.excess for arm in singles], 0)
    return {
        "problems": len(REPORTED),
        "members": MEMBERS,
        "disagreement": PRICE,
        "gap_single": round(float(alone.mean()), 4),
        "gap_without": round(without.gap, 4),
        "gap_with": round(priced.gap, 4),
        "ratio": round(priced.gap / without.gap, 4),
        "ratio_interval": _ratio_interval(priced.excess, without.excess),
        "ratio_single": round(priced.gap / float(alone.mean()), 4),
        "ratio_single_interval": _ratio_interval(priced.excess, alone),
        "single_model": _rate(singles, "model"),
        "single_simulator": _rate(singles, "simulator"),
        "without_model": _rate([without], "model"),
        "without_simulator": _rate([without], "simulator"),
        "with_model": _rate([priced], "model"),
        "with_simulator": _rate([priced], "simulator"),
        "slowdown": round(without.seconds / float(np.mean([arm.seconds for arm in singles])), 2),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train or load the leaky models, plan with each, and print a table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--choose", action="store_true", help="compare prices on the problems they are chosen on, and stop")
    choose = parser.parse_args(arguments).choose
    torch.set_num_threads(1)
    members, ensemble = leaky_models()
    planner = make_planner("grasp", GRASP)
    if choose:
        for price in PRICES:
            plan(f"ensemble, disagreement {price:g}", ensemble.with_goal_cost(None, price), planner, CHOOSING)
        return
    singles = [plan(f"member {seed} alone", member, planner, REPORTED) for seed, member in enumerate(members)]
    without = plan(f"ensemble of {MEMBERS}", ensemble, planner, REPORTED)
    priced = plan(f"ensemble of {MEMBERS}, disagreement {PRICE:g}", ensemble.with_goal_cost(None, PRICE), planner, REPORTED)
    print(json.dumps(report(singles, without, priced)))


if __name__ == "__main__":
    main()
