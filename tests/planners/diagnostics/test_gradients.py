"""Gradients by time step, iterates, brittleness and growth fits against what is known in closed form."""

import math

import pytest
import torch

from planners import ModelProblems
from planners.diagnostics.brittleness import brittleness, predicted_states
from planners.diagnostics.curvature import curvature, flat_variables, lifted_objective, shooting_objective
from planners.diagnostics.gradients import (
    LiftedPhase,
    early_over_late,
    lifted_gradient_norms,
    lifted_iterate,
    shooting_gradient_norms,
    shooting_iterate,
)
from planners.diagnostics.growth import bootstrap_median, growth
from planners.objectives import final_cost
from tests.planners.diagnostics.worlds import F64, smooth_mlp, somewhere, weights, world
from tests.support.planning import problems_for
from world_models.base import Context, SquaredDistance
from world_models.errors import UserError
from world_models.models.analytic import LinearQuadratic


def test_gradient_norms_are_those_of_finite_differences():
    model = smooth_mlp()
    problems = problems_for(model, batch=2, steps=5)
    _, actions = somewhere(problems, model)
    norms = shooting_gradient_norms(model, problems, actions)
    step = 1e-5
    for t in (0, 4):
        slopes = torch.zeros(2, 2, dtype=F64)
        for feature in range(2):
            up, down = actions.clone(), actions.clone()
            up[:, t, feature] += step
            down[:, t, feature] -= step
            slopes[:, feature] = (final_cost(model, problems, up) - final_cost(model, problems, down)) / (2 * step)
        torch.testing.assert_close(norms[:, t], slopes.norm(dim=1), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("gain", [0.8, 1.25])
def test_shooting_gradients_of_a_scaling_world_change_by_its_gain_per_step_and_grasps_do_not(gain):
    eye = torch.eye(2, dtype=F64)
    model = LinearQuadratic(gain * eye, eye)
    problems = problems_for(model, steps=40, bound=2.0)
    states, actions = somewhere(problems, model)
    norms = shooting_gradient_norms(model, problems, actions)
    torch.testing.assert_close(norms[:, :-1] / norms[:, 1:], torch.full((3, 39), gain, dtype=F64))
    torch.testing.assert_close(early_over_late(norms), torch.full((3,), 36 * math.log10(gain), dtype=F64))
    lifted = lifted_gradient_norms(model, problems, states, actions, weights(problems))
    assert bool((early_over_late(lifted).abs() < 1).all())


def test_rows_without_gradient_have_a_finite_ratio():
    assert early_over_late(torch.zeros(2, 10, dtype=F64)).tolist() == [0, 0]
    dead = torch.zeros(1, 10, dtype=F64)
    dead[:, -1] = 1
    assert early_over_late(dead).tolist() == [-12]


def test_iterates_descend_stay_in_bounds_and_do_not_touch_their_neighbours():
    model = world()
    problems = problems_for(model, steps=8, bound=0.5)
    actions = shooting_iterate(model, problems, 30, 0.1)
    assert bool((final_cost(model, problems, actions) < final_cost(model, problems, torch.zeros_like(actions))).all())
    states, lifted = lifted_iterate(model, problems, (7, 8, 9), 30, LiftedPhase(goal_weight=0.2))
    for found in (actions, lifted):
        assert bool((found.abs() <= 0.5).all())
    alone = lifted_iterate(model, problems.rows(slice(1, 2)), (8,), 30, LiftedPhase(goal_weight=0.2))
    torch.testing.assert_close(alone, (states[1:2], lifted[1:2]))


def still(matrix: torch.Tensor, goal: list[list[float]]) -> tuple[LinearQuadratic, ModelProblems]:
    """A linear world with problems from the origin to `goal`."""
    size = matrix.shape[0]
    model = LinearQuadratic(matrix, torch.eye(size, dtype=F64))
    bound = torch.ones(size, dtype=F64)
    goals = torch.tensor(goal, dtype=F64)
    return model, ModelProblems(Context.at(model, torch.zeros_like(goals)), goals, 4, -bound, bound, SquaredDistance())


def test_in_a_sound_world_a_step_removes_its_own_share():
    model, problems = still(torch.eye(2, dtype=F64), [[3.0, 4.0], [0.1, 0.0]])
    radii = (0.01, 0.1, 0.5, 1.0)
    measured = brittleness(model, problems, radii)
    expected = torch.tensor(radii, dtype=F64).unsqueeze(1).expand(-1, 2)
    torch.testing.assert_close(measured.removed, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(measured.removed_by_one_step, expected, atol=1e-9, rtol=0)
    assert measured.radii == radii


def test_a_world_with_a_steep_direction_is_found_to_be_brittle():
    model, problems = still(torch.diag(torch.tensor([40.0, 1.0], dtype=F64)), [[4.0, 0.5], [0.0, 1.0]])
    measured = brittleness(model, problems, (0.01, 0.1))
    start, goal = problems.context.last, problems.goal
    # A tenth of the distance holds the whole way in the steep direction (4 / 40), and part of the other direction's 0.5.
    left = 0.5 - math.sqrt((0.1 * math.hypot(4.0, 0.5)) ** 2 - 0.1**2)
    assert 1 - 0.5 / math.hypot(4.0, 0.5) < float(measured.removed[1, 0]) <= 1 - left / math.hypot(4.0, 0.5)
    assert float(measured.removed[1, 1]) == pytest.approx(0.1, abs=1e-3)
    moved = (measured.states - start).norm(dim=2) / (goal - start).norm(dim=1)
    assert bool((moved <= torch.tensor([[0.01], [0.1]], dtype=F64) + 1e-12).all())
    reached = predicted_states(model, problems, measured.states[1])
    before = (predicted_states(model, problems, start) - goal).norm(dim=1)
    torch.testing.assert_close(1 - (reached - goal).norm(dim=1) / before, measured.removed[1])


def test_growth_distinguishes_an_exponential_from_a_power():
    lengths = (5, 10, 15, 20, 30, 40)
    T = torch.tensor(lengths, dtype=F64)
    noise = torch.randn(12, 6, generator=torch.Generator().manual_seed(1), dtype=F64)
    exponential = growth(lengths, (0.2 * T + 0.3 * noise).exp())
    assert exponential.rate == pytest.approx(0.2, abs=0.02)
    assert exponential.rate_interval[0] < 0.2 < exponential.rate_interval[1]
    assert exponential.exponential_share > 0.95
    power = growth(lengths, 3 * T**1.5 * (0.1 * noise).exp())
    assert power.power == pytest.approx(1.5, abs=0.1)
    assert power.exponential_share < 0.05
    assert power.fold == pytest.approx(8**1.5, rel=0.2)
    flat = growth(lengths, torch.ones(12, 6, dtype=F64))
    assert (flat.rate, flat.fold) == (0, 1)
    with pytest.raises(UserError, match="at least 3"):
        growth((5, 10), torch.ones(2, 2, dtype=F64))


def test_curvature_of_an_unstable_world_grows_exponentially_and_only_in_shooting():
    eye, lengths = torch.eye(2, dtype=F64), (10, 16, 22, 28, 34, 40)
    model = LinearQuadratic(1.2 * eye, eye)
    shooting, lifted = [], []
    for steps in lengths:
        problems = problems_for(model, batch=4, steps=steps)
        states, actions = somewhere(problems, model)
        shooting.append(curvature(shooting_objective(model, problems), actions.flatten(1)).gauss_newton)
        objective = lifted_objective(model, problems, weights(problems))
        lifted.append(curvature(objective, flat_variables(states, actions)).gauss_newton)
    steep, level = growth(lengths, torch.stack(shooting, 1)), growth(lengths, torch.stack(lifted, 1))
    assert steep.rate == pytest.approx(2 * math.log(1.2), rel=0.01)
    assert steep.exponential_share == 1
    assert level.fold < 1.1


def test_the_median_has_an_interval():
    value, (low, high) = bootstrap_median(torch.arange(21.0))
    assert (value, low < 10 < high, low > 5) == (10, True, True)
