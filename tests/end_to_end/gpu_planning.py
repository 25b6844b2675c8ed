"""Models of the zoo and short runs of planners, to be compared between a CPU and a GPU."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from planners import PLANNERS, ModelProblems, Plans, Scalar, make_planner
from tests.support.planning import SETTINGS
from world_models.base import Context, PixelObservation, rollout, step_pullback
from world_models.checkpoints import store as checkpoints
from world_models.checkpoints.store import LoadedModel
from world_models.precision import matmul_precision

STEPS, BATCH = 8, 4
CPU, SINGLE, DOUBLE = torch.device("cpu"), torch.float32, torch.float64
VARIANTS: dict[str, tuple[str, dict[str, Scalar]]] = {
    **{name: (name, {}) for name in PLANNERS},
    "explore": ("gd", {"init": "explore", "explore_rounds": 4, "explore_nodes": 8, "restarts": 2, "attempts": 2}),
    "attempts": ("grasp", {"attempts": 3, "restarts": 2, "reached_cost": 1e-4, "finish_cost": 1e-6, "init": "zeros"}),
    "newton": ("grasp", {"sync": "newton", "final_goal_weight": 0.3, "noise_schedule": "cosine"}),
    "resampling": ("grasp", {"sync": "cem", "sync_samples": 12, "sync_elites": 3, "max_evaluations": 4000}),
    "undetached": ("grasp", {"stop_gradient": False, "optimizer": "gd", "reset_states_after_sync": True}),
    "coloured": ("icem", {"noise_exponent": 2.0, "momentum": 0.2, "kept_elites": 0.5}),
}
"""Planners, with settings that take different paths through the code."""


@cache
def loaded(name: str, device: str, dtype: torch.dtype = SINGLE) -> LoadedModel:
    return checkpoints.load(name, device, dtype)


def seen(model: LoadedModel, count: int) -> Tensor | PixelObservation:
    """Observations as the model knows them, on the CPU; states in float64."""
    generator = torch.Generator().manual_seed(0)
    if model.sensors.kind == "state":
        states = torch.rand(count, *model.model.state_shape, generator=generator, dtype=DOUBLE)
        assert model.decode is not None
        return model.decode((2 * states - 1).to(model.model.device, model.model.dtype)).to(CPU, DOUBLE)
    size = model.sensors.size
    mean: Tensor = model.model.picture_mean  # pyright: ignore[reportAttributeAccessIssue]
    pixels = (255 * mean.cpu()).round().clamp(0, 255).to(torch.uint8).repeat(count, 1, 1, 1)
    for row, (x, y) in enumerate(torch.randint(4, size - 12, (count, 2), generator=generator).tolist()):
        pixels[row, y : y + 8, x : x + 8] = torch.tensor([0, 114, 178], dtype=torch.uint8)
    return PixelObservation(pixels, torch.rand(count, model.sensors.proprioception, generator=generator, dtype=DOUBLE))


def on_device_of(observation: Tensor | PixelObservation, model: LoadedModel) -> Tensor | PixelObservation:
    device, dtype = model.model.device, model.model.dtype
    if isinstance(observation, PixelObservation):
        return PixelObservation(observation.pixels.to(device), observation.proprioception.to(device, dtype))
    return observation.to(device, dtype)


def actions_for(model: LoadedModel, count: int, steps: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    drawn = 1.6 * torch.rand(count, steps, model.model.action_dim, generator=generator, dtype=DOUBLE) - 0.8
    return drawn.to(model.model.device, model.model.dtype)


def problems(name: str, device: str, dtype: torch.dtype = SINGLE, batch: int = BATCH, bound: float = 1.0) -> ModelProblems:
    """Problems that start at states known to the model, with goals that random actions lead to."""
    model = loaded(name, device, dtype)
    exact = loaded(name, "cpu", DOUBLE)
    with torch.no_grad():
        start = exact.model.encode(on_device_of(seen(exact, batch), exact))
        goal = rollout(exact.model, Context.at(exact.model, start), bound * actions_for(exact, batch, STEPS))[:, -1]
    high = torch.full((model.model.action_dim,), bound, dtype=dtype, device=device)
    context = Context.at(model.model, start.to(device, dtype))
    return ModelProblems(context, goal.to(device, dtype), STEPS, -high, high, model.goal_cost)


def planned(variant: str, model: LoadedModel, posed: ModelProblems, seeds: list[int], **more: Scalar) -> Plans:
    name, settings = VARIANTS[variant]
    chosen = {**SETTINGS[name], "precision": "highest", **settings, **more}
    return make_planner(name, chosen).plan(model.model, posed, seeds)


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference relative to the largest number."""
    scale = expected.to(CPU, DOUBLE).abs().max().clamp_min(1e-6)
    return float((found.to(CPU, DOUBLE) - expected.to(CPU, DOUBLE)).abs().max() / scale)


def results_of(model: LoadedModel) -> dict[str, Tensor]:
    """Everything that a model computes."""
    with torch.no_grad(), matmul_precision("highest", model.model.device):
        states = model.model.encode(on_device_of(seen(model, 6), model))
        context, taken = Context.at(model.model, states), actions_for(model, 6, 2 * STEPS)
        way = rollout(model.model, context, taken)
        window = context.states, torch.cat([context.actions, taken[:, :1]], 1)
        step = model.model.step(*window)
        following, pullback = step_pullback(model.model, *window)
        found = {"states": states, "step": step, "following": following, "rollout": way}
        found["to_actions"] = pullback(torch.ones_like(following))
        found["cost"] = model.goal_cost(way[:, -1], states)
        if model.decode is not None:
            found["decoded"] = model.decode(way.flatten(0, 1))
    assert all(part.device == states.device for part in found.values())
    return found
