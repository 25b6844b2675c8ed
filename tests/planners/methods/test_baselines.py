"""Plans that nothing searched for: known actions, in one rollout each, row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from planners import BASELINES, ModelProblems, PlanStatus, make_planner
from planners.testing import WORLDS, problems_for
from planners.testing.worlds import take
from world_models.base import rollout
from world_models.errors import UserError

SEEDS = [7, 8, 9]


def posed(world: str) -> tuple[torch.nn.Module, ModelProblems]:
    model = WORLDS[world](torch.float64)
    problems = problems_for(model, steps=4)
    known = torch.linspace(-0.4, 0.4, 3 * 4 * problems.low.shape[0], dtype=torch.float64).reshape(3, 4, -1)
    return model, replace(problems, reference=known)


@pytest.mark.parametrize("world", sorted(WORLDS))
@pytest.mark.parametrize("name", sorted(BASELINES))
def test_a_plan_is_one_rollout_of_actions_within_bounds_whatever_the_batch(name: str, world: str) -> None:
    model, problems = posed(world)
    plans = make_planner(name).plan(model, problems, SEEDS)
    assert plans.status == (PlanStatus.COMPLETED,) * 3
    assert plans.evaluations.tolist() == [4, 4, 4]
    torch.testing.assert_close(plans.states, rollout(model, problems.context, plans.actions))
    torch.testing.assert_close(plans.cost, problems.goal_cost(plans.states[:, -1], problems.goal))
    if name != "reference_actions":
        assert ((plans.actions >= problems.low) & (plans.actions <= problems.high)).all()
    alone = make_planner(name).plan(model, replace(take(problems, [1]), reference=problems.reference[1:2]), SEEDS[1:2])
    assert torch.equal(alone.actions[0], plans.actions[1])


def test_what_is_done_is_nothing_chance_or_what_was_recorded() -> None:
    model, problems = posed("mlp")
    null, drawn, known = (make_planner(name).plan(model, problems, SEEDS).actions for name in sorted(BASELINES))
    assert not null.any()
    assert torch.equal(known, problems.reference)
    assert drawn.flatten(1).unique(dim=0).shape[0] == 3, "each seed draws its own"
    assert torch.equal(drawn, make_planner("random_actions").plan(model, problems, SEEDS).actions)


def test_random_actions_are_uniform_between_the_bounds() -> None:
    model = WORLDS["mlp"](torch.float64)
    problems = problems_for(model, batch=500, steps=8)
    shares = (make_planner("random_actions").plan(model, problems, list(range(500))).actions - problems.low) / (
        problems.high - problems.low
    )
    counts = torch.histc(shares, 4, 0.0, 1.0) / shares.numel()
    assert (counts - 0.25).abs().max() < 0.02


def test_problems_without_reference_actions_cannot_repeat_any() -> None:
    model, problems = posed("mlp")
    with pytest.raises(UserError, match="the problems have no reference actions to repeat"):
        make_planner("reference_actions").plan(model, replace(problems, reference=None), SEEDS)
