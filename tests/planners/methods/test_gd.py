"""GD through the rollout: exact gradients, and the known optimum of linear-quadratic worlds."""

from __future__ import annotations

import pytest
import torch

from planners import GD, GDSettings, ModelProblems
from planners.objectives import final_cost, final_cost_gradient
from tests.support.planning import WORLDS, problems_for
from world_models.base import Context
from world_models.models.analytic import EffortCost, LinearQuadratic, WithEffort

F64 = torch.float64


@pytest.mark.parametrize("world", sorted(WORLDS))
def test_gradient_equals_finite_differences(world: str) -> None:
    model = WORLDS[world](F64)
    problems = problems_for(model, batch=2, steps=4)
    actions = torch.randn(2, 4, model.action_dim, generator=torch.Generator().manual_seed(0), dtype=F64)
    cost, gradient = final_cost_gradient(model, problems, actions)
    torch.testing.assert_close(cost, final_cost(model, problems, actions))
    direction = torch.randn(actions.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    step = 1e-6
    ahead, behind = (final_cost(model, problems, actions + sign * step * direction) for sign in (1, -1))
    torch.testing.assert_close((gradient * direction).sum((1, 2)), (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_reaches_riccatis_cost(seed: int, dtype: torch.dtype) -> None:
    world = LinearQuadratic.random(seed, dtype=dtype)
    model = WithEffort(world, effort=0.01)
    start, goal = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)
    bound = torch.full((2,), 100.0, dtype=dtype)
    problems = ModelProblems(Context.at(model, model.encode(start)), model.encode(goal), 12, -bound, bound, EffortCost())
    done = GD(GDSettings(iterations=300, lr=0.3)).plan(model, problems, range(4))
    optimum, _ = world.optimal(start, goal, 12, effort=0.01)
    assert (done.cost <= 1.01 * optimum).all()
    assert (done.cost >= 0.999 * optimum).all(), "below the optimum would be a wrong cost"
