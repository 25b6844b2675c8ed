"""LatCo: the gradient of its Lagrangian with nothing detached, multipliers that rise until the dynamics hold."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from planners import LatCoSettings, ModelProblems
from planners.methods.latco import LatCoSearch
from planners.objectives import dynamics_misses, full_lifted_gradients, lifted_loss
from planners.search.initialisers import zeros
from planners.search.search_run import begin
from tests.support.optima import OPTIMA, from_rest_to_rest
from tests.support.planning import WORLDS, Counting, problems_for, small_mlp
from world_models.base import WorldModel, lifted_step

F64 = torch.float64


def lagrangian(model: WorldModel, problems: ModelProblems, states: Tensor, actions: Tensor, goal: Tensor, dynamics: Tensor):
    """The Lagrangian written out problem by problem and step by step."""
    loss, h = torch.zeros((), dtype=actions.dtype), model.history
    for b in range(problems.batch):
        sequence = torch.cat([problems.context.states[b], states[b]])
        taken = torch.cat([problems.context.actions[b], actions[b]])
        for t in range(problems.steps):
            known = problems.context.known + t
            seen = slice(max(0, known - h), known)
            predicted = model.step(sequence[seen][None], taken[seen][None])
            loss = loss + goal[b, t] * problems.goal_cost(predicted, problems.goal[b : b + 1])[0]
            if t + 1 < problems.steps:
                loss = loss + dynamics[b, t] * (predicted[0] - states[b, t]).square().mean()
    return loss


@pytest.mark.parametrize("world", sorted(WORLDS))
@pytest.mark.parametrize("steps", [1, 5])
def test_gradients_equal_autograd_of_the_lagrangian_written_out(world: str, steps: int) -> None:
    model = WORLDS[world](F64)
    problems = problems_for(model, batch=2, steps=steps)
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, steps - 1, *model.state_shape, generator=generator, dtype=F64)
    actions = torch.randn(2, steps, model.action_dim, generator=generator, dtype=F64)
    goal = torch.rand(2, steps, generator=generator, dtype=F64)
    dynamics = 3 * torch.rand(2, steps - 1, generator=generator, dtype=F64)
    ours = full_lifted_gradients(model, problems, states, actions, goal, dynamics)
    leaves = states.clone().requires_grad_(), actions.clone().requires_grad_()
    theirs = torch.autograd.grad(lagrangian(model, problems, *leaves, goal, dynamics), leaves)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)
    unweighted = full_lifted_gradients(model, problems, states, actions, goal)
    ones = full_lifted_gradients(model, problems, states, actions, goal, torch.ones_like(dynamics))
    for mine, other in zip(unweighted, ones, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


def test_gradients_equal_finite_differences() -> None:
    model = WORLDS["pendulums"](F64)
    problems = problems_for(model, batch=2, steps=4)
    generator = torch.Generator().manual_seed(3)
    states, actions = (torch.randn(2, n, 2, generator=generator, dtype=F64) for n in (3, 4))
    goal, dynamics = torch.rand(2, 4, generator=generator, dtype=F64), torch.rand(2, 3, generator=generator, dtype=F64)
    to_states, to_actions = full_lifted_gradients(model, problems, states, actions, goal, dynamics)
    ds, da = torch.randn(2, 3, 2, generator=generator, dtype=F64), torch.randn(2, 4, 2, generator=generator, dtype=F64)
    ahead, behind = (
        lifted_loss(model, problems, states + sign * 1e-6 * ds, actions + sign * 1e-6 * da, goal, dynamics) for sign in (1, -1)
    )
    slope = (to_states * ds).sum((1, 2)) + (to_actions * da).sum((1, 2))
    torch.testing.assert_close(slope, (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-8)


def test_multipliers_follow_the_violation_by_row_and_time() -> None:
    model = small_mlp(F64)
    problems = problems_for(model)
    settings = LatCoSettings(multiplier=2.0, lr_multipliers=0.3, tolerance=0.01, update_every=2, init_noise=0.1)
    search = LatCoSearch(settings, begin(model, problems, [1, 2, 3]))
    search.step(0)
    torch.testing.assert_close(search.log_multipliers, torch.full((3, 5), math.log(2), dtype=F64))
    search.step(1)
    violation = dynamics_misses(lifted_step(model, problems.context, search.states, search.actions), search.states)
    expected = math.log(2) + 0.3 * (violation / 0.01).log().clamp(-1, 1)
    torch.testing.assert_close(search.log_multipliers, expected)
    assert expected.unique().numel() > 2, "neither all at the upper nor all at the lower end"


@pytest.mark.parametrize("world", ["linear_quadratic", "pendulums", "patches"])
def test_dynamics_hold_in_the_end_and_states_are_those_of_the_rollout(world: str) -> None:
    known = OPTIMA[world](F64)
    model, problems = known.model, known.problems
    search = LatCoSearch(LatCoSettings(lr_states=0.1, lr_actions=0.1), begin(model, problems, [1, 2, 3]))
    missed = []
    for iteration in range(150):
        if iteration in (10, 149):
            predicted = lifted_step(model, problems.context, search.states, search.actions)
            missed.append(dynamics_misses(predicted, search.states).amax())
        search.step(iteration)
    assert missed[1] < 5e-3
    assert missed[1] < 0.3 * missed[0]


def test_a_violated_step_gets_more_weight_than_one_that_holds() -> None:
    """Twice as far as can be reached: goal and dynamics cannot both hold, and the multipliers take the dynamics' side."""
    known = from_rest_to_rest(F64, 2.0)
    search = LatCoSearch(LatCoSettings(), begin(known.model, known.problems, [1, 2, 3]))
    for iteration in range(200):
        search.step(iteration)
    assert (search.log_multipliers.amax(1)[:2] > 1).all(), "rows 0 and 1 are out of reach"
    assert (search.log_multipliers.amax(1)[2] < search.log_multipliers.amax(1)[:2]).all(), "row 2 is within reach"


def test_multipliers_stay_finite_where_the_dynamics_hold_exactly() -> None:
    """Null actions on their own rollout violate nothing: log 0 must not spread."""
    model = Counting(WORLDS["linear_quadratic"](F64))
    problems = problems_for(model)
    run = begin(model, problems, [1, 2, 3], zeros(model, problems))
    search = LatCoSearch(LatCoSettings(update_every=1, lr_states=1e-12, lr_actions=1e-12), run)
    search.step(0)
    assert torch.isfinite(search.log_multipliers).all()
    assert (search.log_multipliers < 0).all()
