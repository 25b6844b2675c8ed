"""Writes down what published solvers do: `python -m tests.golden.record_solvers --swm DIR --dino DIR --author DIR`.

Runs the solvers of checkouts of galilai-group/stable-worldmodel (addbab4), gaoyuezhou/dino_wm (0a9492f) and
michael-psenka/le-wm-grasp (e34da79) on a toy world, and writes `published_solvers.npz`: their random numbers, costs, gradients,
iterates and plans, in float64 and standardised actions. Nothing of their code is kept. It needs `pip install einops`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

RECORDED = Path(__file__).with_name("published_solvers.npz")
PROBLEMS, STEPS, STATE, ACTION = 2, 4, 4, 2


class ToyWorld:
    """s' = 0.9 s + 0.4 tanh(s W + z U) of standardised actions z, and the problems in it."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(5)
        self.inner, self.outer, self.start, self.goal = (
            torch.randn(*shape, generator=generator, dtype=torch.float64)
            for shape in ((STATE, STATE), (ACTION, STATE), (PROBLEMS, STATE), (PROBLEMS, STATE))
        )

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        """The next states `[..., state]`."""
        return 0.9 * states + 0.4 * torch.tanh(states @ self.inner + actions @ self.outer)

    def last(self, states: Tensor, actions: Tensor) -> Tensor:
        """The last state of rollouts of actions `[..., time, action]`."""
        for action in actions.unbind(-2):
            states = self.step(states, action)
        return states


class Drawn:
    """Random numbers that a solver drew, call by call."""

    def __init__(self) -> None:
        self.calls: list[Tensor] = []

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note what `torch.randn` and `torch.randn_like` return."""
        kept = torch.randn, torch.randn_like

        def noting(draw: Any) -> Any:
            def drawn(*args: Any, **kwargs: Any) -> Tensor:
                self.calls.append(draw(*args, **kwargs))
                return self.calls[-1].clone()

            return drawn

        torch.randn, torch.randn_like = noting(kept[0]), noting(kept[1])
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        finally:
            torch.randn, torch.randn_like = kept


def solver_of(checkout: Path, module: str, packages: tuple[str, ...]) -> ModuleType:
    """A module of a checkout, without what its packages import when they are imported."""
    for package in packages:
        stub = ModuleType(package)
        stub.__path__ = [str(checkout.joinpath(*package.split(".")))]
        sys.modules[package] = stub
    sys.path.insert(0, str(checkout))
    return importlib.import_module(module)


class Iterations:
    """A callback of stable-worldmodel's solvers that keeps everything they say."""

    output_key = "iterations"

    def __init__(self) -> None:
        self.history: list[dict[str, Any]] = []

    def reset(self) -> None: ...

    def start_batch(self) -> None: ...

    def end_solve(self) -> None: ...

    def __call__(self, **said: Any) -> None:
        if "params" in said:
            said |= {"plans": said["params"].detach().clone(), "gradient": said["params"].grad.clone()}
        self.history.append({key: value.detach().clone() for key, value in said.items() if isinstance(value, Tensor)})


class SwmCost:
    """A cost object of stable-worldmodel: the squared distance at the end, summed over features as LeWM's is."""

    def __init__(self, world: ToyWorld) -> None:
        self.world = world

    def parameters(self) -> Iterator[Tensor]:
        yield self.world.inner

    def get_cost(self, info: dict, candidates: Tensor) -> Tensor:
        return (self.world.last(info["state"], candidates) - info["goal"]).square().sum(-1)


def configured(solver: Any) -> Any:
    """A solver that knows the sizes of the toy world."""
    space = Box(-1, 1, (PROBLEMS, ACTION), dtype=np.float32)
    solver.configure(action_space=space, n_envs=PROBLEMS, config=SimpleNamespace(horizon=STEPS, action_block=1))
    return solver


def by_problem(calls: list[Tensor]) -> Tensor:
    """Values that were noted problem by problem, as `[iteration, problem, ...]`; each has a batch of one in front."""
    return torch.stack(calls).unflatten(0, (PROBLEMS, -1)).squeeze(2).transpose(0, 1)


def swm(checkout: Path, world: ToyWorld) -> dict[str, Tensor]:
    """The solvers of stable-worldmodel."""
    stem = "stable_worldmodel.planning.solver"
    packages = ("stable_worldmodel", "stable_worldmodel.planning", stem)
    info = {"state": world.start, "goal": world.goal}
    found: dict[str, Tensor] = {}

    told, drawn = Iterations(), Drawn()
    cem = solver_of(checkout, f"{stem}.cem", packages).CEMSolver
    solver = configured(cem(SwmCost(world), num_samples=20, n_steps=6, topk=5, seed=3, callbacks=[told]))
    with drawn.noted():
        found["cem_swm/actions"] = solver.solve(dict(info))["actions"]
    found["cem_swm/noise"] = by_problem(drawn.calls)
    for name, key in (("cost", "costs"), ("mean", "mean"), ("std", "var")):
        found[f"cem_swm/{name}"] = by_problem([said[key] for said in told.history])

    told, drawn = Iterations(), Drawn()
    gradient = importlib.import_module(f"{stem}.gd").GradientSolver
    rule = {"optimizer_cls": torch.optim.AdamW, "optimizer_kwargs": {"lr": 0.1}}
    solver = configured(
        gradient(SwmCost(world), 20, batch_size=1, num_samples=6, action_noise=0.01, seed=3, callbacks=[told], **rule)
    )
    with drawn.noted():
        found["gd_swm/actions"] = solver.solve(dict(info))["actions"]
    first = torch.cat([torch.zeros_like(drawn.calls[0][:, :1]), drawn.calls[0]], 1)
    found["gd_swm/first"], found["gd_swm/noise"] = first, by_problem(drawn.calls[1:])
    for name in ("plans", "gradient"):
        found[f"gd_swm/{name}"] = by_problem([said[name] for said in told.history])
    found["gd_swm/last_plans"] = solver.init.detach()
    repeated = {key: value.unsqueeze(1).expand(-1, 6, -1) for key, value in info.items()}
    found["gd_swm/last_cost"] = SwmCost(world).get_cost(repeated, found["gd_swm/last_plans"])
    return found


class DinoWorld:
    """A world model, preprocessor, objective and log of DINO-WM."""

    def __init__(self, world: ToyWorld) -> None:
        self.world = world
        self.plans: list[Tensor] = []
        self.cost: list[Tensor] = []
        self.gradient: list[Tensor] = []

    def parameters(self) -> Iterator[Tensor]:
        yield self.world.inner

    def encode_obs(self, observed: dict) -> dict:
        return dict(observed)

    def transform_obs(self, observed: dict) -> dict:
        return dict(observed)

    def rollout(self, obs_0: dict, act: Tensor) -> tuple[Tensor, None]:
        self.plans.append(act.detach().clone())
        if act.requires_grad and not self.gradient and len(self.plans) == 1:
            act.register_hook(lambda gradient: self.gradient.append(gradient.clone()))
        return self.world.last(obs_0["visual"], act), None

    def objective(self, reached: Tensor, goal: dict) -> Tensor:
        cost = (reached - goal["visual"]).square().mean(-1)
        self.cost.append(cost.detach())
        return cost

    def log(self, said: dict) -> None: ...


def dino(checkout: Path, world: ToyWorld) -> dict[str, Tensor]:
    """The planners of DINO-WM."""
    helpers = ModuleType("utils")
    vars(helpers)["move_to_device"] = lambda values, device: {key: value.to(device) for key, value in values.items()}
    sys.modules["utils"] = helpers
    found: dict[str, Tensor] = {}

    def planner(module: str, name: str, **settings: Any) -> tuple[Any, DinoWorld]:
        model = DinoWorld(world)
        parts = {"wm": model, "objective_fn": model.objective, "preprocessor": model, "wandb_run": model, "evaluator": None}
        made = getattr(solver_of(checkout, f"planning.{module}", ("planning",)), name)
        return made(horizon=STEPS, eval_every=1, action_dim=ACTION, log_filename=None, **parts, **settings), model

    torch.manual_seed(3)
    drawn = Drawn()
    cem, model = planner("cem", "CEMPlanner", topk=5, num_samples=20, var_scale=1, opt_steps=6)
    with drawn.noted():
        found["cem_dino/actions"] = cem.plan({"visual": world.start}, {"visual": world.goal})[0]
    by_iteration = {"noise": drawn.calls, "cost": model.cost, "plans": model.plans}
    found |= {f"cem_dino/{name}": torch.stack(calls).unflatten(0, (-1, PROBLEMS)) for name, calls in by_iteration.items()}

    drawn = Drawn()
    descent, model = planner("gd", "GDPlanner", action_noise=0.003, sample_type="randn", lr=1.0, opt_steps=40)
    with drawn.noted():
        found["gd_dino/actions"] = descent.plan({"visual": world.start}, {"visual": world.goal})[0].detach()
    found["gd_dino/first"], found["gd_dino/noise"] = drawn.calls[0], torch.stack(drawn.calls[1:])
    found["gd_dino/plans"], found["gd_dino/gradient"] = torch.stack(model.plans), torch.stack(model.gradient)
    return found


class AuthorModel:
    """A JEPA as the author's solver calls it; pictures are states."""

    history_size = 1

    def __init__(self, world: ToyWorld) -> None:
        self.world = world

    def encoder(self, pixels: Tensor, interpolate_pos_encoding: bool) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=pixels.flatten(1).unsqueeze(1))

    def projector(self, values: Tensor) -> Tensor:
        return values

    def action_encoder(self, actions: Tensor) -> Tensor:
        return actions

    def predict(self, states: Tensor, actions: Tensor) -> Tensor:
        return self.world.step(states, actions)


def author(checkout: Path, world: ToyWorld) -> dict[str, Tensor]:
    """GRASP by its author, with both kinds of syncs."""
    sys.path.insert(0, str(checkout))
    solver = importlib.import_module("grasp_solver").GRASPSolver
    shared = {"lr_s": 0.1, "lr_a": 0.005, "state_noise_scale": 0.005, "n_steps": 60, "gd_interval": 20, "device": "cpu"}
    info = {"pixels": world.start[:, None, None], "goal": world.goal[:, None, None]}
    found: dict[str, Tensor] = {}
    for sync, steps in (("gd", 10), ("cem", 5)):
        drawn = Drawn()
        torch.manual_seed(3)
        made = configured(
            solver(AuthorModel(world), gd_opt_steps=steps, sync_mode=sync, cem_sync_samples=16, cem_sync_topk=4, **shared)
        )
        with drawn.noted():
            found[f"grasp_author_{sync}/actions"] = made.solve(dict(info))["actions"]
        for name, ndim in (("noise", 3), ("sync_noise", 4)):
            calls = [call for call in drawn.calls if call.ndim == ndim]
            if calls:
                found[f"grasp_author_{sync}/{name}"] = by_problem(calls)
    return found


def main() -> None:
    """Run all solvers and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("swm", "dino", "author"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    chosen = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    world = ToyWorld()
    found = swm(chosen.swm, world) | dino(chosen.dino, world) | author(chosen.author, world)
    parts = {f"world/{name}": getattr(world, name) for name in ("inner", "outer", "start", "goal")}
    np.savez_compressed(RECORDED, **{key: value.detach().numpy() for key, value in (parts | found).items()})
    shapes = [f"{key} {tuple(value.shape)}" for key, value in found.items()]
    sys.stdout.write("\n".join([*shapes, f"{RECORDED.stat().st_size / 1024:.0f} KiB\n"]))


if __name__ == "__main__":
    main()
