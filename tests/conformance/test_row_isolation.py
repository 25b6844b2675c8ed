"""A row that cannot be planned is reported, and its neighbours are bit for bit what they are next to a sound one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from planners import PLANNERS, PlanStatus
from planners.testing import Cliff, PlannerCase
from planners.testing.planners import a_broken_row_leaves_its_neighbours_bit_for_bit
from tests.support.planning import plan, problems_for
from world_models.base import Context


@pytest.mark.parametrize("name", sorted(PLANNERS))
def test_a_row_that_cannot_be_planned_leaves_its_neighbours_bit_for_bit_in_every_attempt(name: str) -> None:
    case = PlannerCase.named(name)
    several = replace(case, make=lambda changes: case.make({"restarts": 2, "attempts": 2, **changes}))
    a_broken_row_leaves_its_neighbours_bit_for_bit(several, "mlp")


@pytest.mark.parametrize("name", ["gd", "grasp"])
def test_a_row_that_turns_nan_keeps_its_best_plan_from_before(name: str) -> None:
    """The goal of row 1 is out of reach of weak actions: descending towards it ends in NaN."""
    one = torch.eye(1, dtype=torch.float64)
    model = Cliff(one, one)
    context = Context.at(model, torch.zeros(2, 1, dtype=torch.float64))
    goal = torch.tensor([[0.5], [9.0]], dtype=torch.float64)
    problems = replace(problems_for(model, batch=2, bound=5.0), context=context, goal=goal)
    settings = {"lr": 0.1} if name == "gd" else {"sync_lr": 0.1, "sync_steps": 20, "final_sync_steps": 0}
    done = plan(name, model, problems, [1, 2], iterations=40, init_noise=0.0, **settings)
    assert done.status == (PlanStatus.COMPLETED, PlanStatus.NON_FINITE)
    assert torch.isfinite(done.cost).all()
    assert done.cost[1] < done.trace[1, 0], "it had come nearer before it fell"
    assert not torch.isfinite(done.last_cost[1])
    assert done.cost[0] < 1e-2


@pytest.mark.parametrize("name", ["cem", "icem", "mppi", "random_shooting"])
def test_samples_that_fall_off_a_cliff_are_no_failure(name: str) -> None:
    """Most draws are NaN: sampling planners continue with the others."""
    one = torch.eye(1, dtype=torch.float64)
    model = Cliff(one, one)
    context = Context.at(model, torch.zeros(1, 1, dtype=torch.float64))
    goal = torch.full((1, 1), 0.5, dtype=torch.float64)
    problems = replace(problems_for(model, batch=1, steps=3, bound=0.6), context=context, goal=goal)
    done = plan(name, model, problems, [1], std=0.4, samples=200)
    assert done.status == (PlanStatus.COMPLETED,)
    assert done.cost[0] < 1e-2
    assert done.actions.abs().max() <= 0.3
