"""A row that cannot be planned is reported, and its neighbours are bit for bit what they are next to a sound one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from planners import PLANNERS, PlanStatus
from tests.support.planning import plan, problems_for, small_mlp
from world_models.base import Context
from world_models.models.analytic import LinearQuadratic

every_planner = pytest.mark.parametrize("name", sorted(PLANNERS))


@dataclass(frozen=True, eq=False)
class Cliff(LinearQuadratic):
    """A linear world that gives NaN for strong actions."""

    def step(self, states: Float[Tensor, "n 1 state"], actions: Float[Tensor, "n 1 action"]) -> Float[Tensor, "n state"]:
        strong = actions[:, 0].abs().amax(1, keepdim=True) > 0.3
        return torch.where(strong, torch.nan, super().step(states, actions))


@every_planner
@pytest.mark.parametrize(
    ("start", "more"), [(torch.nan, {}), (torch.inf, {"restarts": 2, "attempts": 2}), (1e38, {})], ids=["nan", "inf", "large"]
)
def test_a_row_that_cannot_be_planned_leaves_its_neighbours_bit_for_bit(name: str, start: float, more: dict) -> None:
    model = small_mlp(torch.float32)
    sound = problems_for(model, steps=3)
    broken = sound.context.states.clone()
    broken[1] = start
    before = plan(name, model, sound, [1, 2, 3], **more)
    after = plan(name, model, replace(sound, context=Context(broken, sound.context.actions)), [1, 2, 3], **more)
    assert after.status == (PlanStatus.COMPLETED, PlanStatus.NON_FINITE, PlanStatus.COMPLETED)
    assert torch.isfinite(after.actions).all(), "even a failed row has a plan that can be executed"
    for row in (0, 2):
        assert torch.equal(before.actions[row], after.actions[row])
        assert torch.equal(before.trace[row], after.trace[row])


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


@every_planner
def test_a_goal_of_nan_is_one_rows_own_trouble(name: str) -> None:
    model = small_mlp(torch.float32)
    sound = problems_for(model, steps=3)
    goal = sound.goal.clone()
    goal[0] = torch.nan
    before = plan(name, model, sound, [1, 2, 3])
    after = plan(name, model, replace(sound, goal=goal), [1, 2, 3])
    assert after.status[0] == PlanStatus.NON_FINITE
    assert torch.isfinite(after.actions).all()
    assert torch.equal(before.actions[1:], after.actions[1:])
    assert torch.equal(before.last_cost[1:], after.last_cost[1:])


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
