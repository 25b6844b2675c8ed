"""Problems on analytic worlds whose optimal cost is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planners import ModelProblems
from tests.support.planning import Patches
from world_models.base import Context, SquaredDistance, WorldModel, rollout
from world_models.models.analytic import DoubleIntegrator, EffortCost, LinearQuadratic, Pendulums, WithEffort

BATCH = 3


@dataclass(frozen=True)
class Known:
    """Problems with their lowest costs of any plan within the bounds."""

    model: WorldModel
    problems: ModelProblems
    optimum: Float[Tensor, " batch"]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def reachable(model: WorldModel, steps: int, bound: float = 1.0, seed: int = 0) -> Known:
    """Goals are where random plans well within the bounds end: the optimal cost is 0."""
    start = torch.randn(BATCH, *model.state_shape, generator=_generator(seed), dtype=torch.float64)
    actions = torch.rand(BATCH, steps, model.action_dim, generator=_generator(seed + 1), dtype=torch.float64)
    context = Context.at(model, start.to(model.dtype))
    goal = rollout(model, context, ((1.6 * actions - 0.8) * bound).to(model.dtype))[:, -1]
    high = torch.full((model.action_dim,), bound, dtype=model.dtype)
    return Known(model, ModelProblems(context, goal, steps, -high, high, SquaredDistance()), goal.new_zeros(BATCH))


def with_effort(dtype: torch.dtype, steps: int = 6) -> Known:
    """Reaching goals takes effort and bounds are far away: Riccati's cost is the optimum."""
    world = LinearQuadratic.random(1, dtype=dtype)
    model = WithEffort(world, effort=0.02)
    start, goal = torch.randn(2, BATCH, 4, generator=_generator(2), dtype=torch.float64).to(dtype)
    high = torch.full((2,), 100.0, dtype=dtype)
    problems = ModelProblems(Context.at(model, model.encode(start)), model.encode(goal), steps, -high, high, EffortCost())
    return Known(model, problems, world.optimal(start, goal, steps, effort=0.02)[0])


def from_rest_to_rest(dtype: torch.dtype, share: float, steps: int = 6) -> Known:
    """A double integrator travels `share` of what it can reach from rest to rest: 1 leaves no choice but bang-bang."""
    model = DoubleIntegrator.make(dims=1, dt=0.5, dtype=dtype)
    goal = torch.tensor([[share * model.reach(steps), 0.0]], dtype=dtype) * torch.tensor([[1.0], [-1.0], [0.5]], dtype=dtype)
    high = torch.ones(1, dtype=dtype)
    problems = ModelProblems(Context.at(model, torch.zeros_like(goal)), goal, steps, -high, high, SquaredDistance())
    return Known(model, problems, goal.new_zeros(BATCH))


OPTIMA: dict[str, Callable[[torch.dtype], Known]] = {
    "linear_quadratic": lambda dtype: reachable(LinearQuadratic.random(0, dtype=dtype), 7),
    "scalar": lambda dtype: reachable(LinearQuadratic.random(0, 1, 1, dtype=dtype), 4),
    "with_effort": with_effort,
    "double_integrator": lambda dtype: from_rest_to_rest(dtype, 0.7),
    "bang_bang": lambda dtype: from_rest_to_rest(dtype, 1.0),
    "pendulums": lambda dtype: reachable(Pendulums(dtype=dtype), 5),
    "patches": lambda dtype: reachable(Patches(dtype), 4),
}
"""Cases by world and problem, for one precision."""
