"""The full lifted gradients, curvature and condition numbers against what is known in closed form."""

import pytest
import torch

from planners import ModelProblems, make_planner
from planners.diagnostics.conditioning import lifted_condition, shooting_condition
from planners.diagnostics.curvature import (
    curvature,
    extreme_eigenvalue,
    flat_variables,
    gauss_newton_product,
    hessian_product,
    lifted_objective,
    shooting_objective,
    twice_differentiable,
)
from planners.objectives import final_cost, full_lifted_gradients, lifted_gradients, lifted_loss
from planners.search.initialisers import interpolated_states
from tests.planners.diagnostics.worlds import F64, smooth_mlp, somewhere, weights, world
from tests.support.planning import problems_for, small_mlp
from world_models.base import lifted_step
from world_models.models.analytic import LinearQuadratic, Pendulums, reachability
from world_models.models.mlp import StateGoalCost


def dense_hessian(objective, x: torch.Tensor, row: int) -> torch.Tensor:
    """torch's own Hessian of one row's loss."""

    def loss(variables: torch.Tensor) -> torch.Tensor:
        whole = x.clone()
        whole[row] = variables
        return objective(whole)[row]

    return torch.autograd.functional.hessian(loss, x[row])  # pyright: ignore[reportReturnType]


MODELS = {"linear": world, "mlp": smooth_mlp, "pendulums": lambda: Pendulums(dtype=F64)}


@pytest.mark.parametrize("name", MODELS)
def test_full_lifted_gradients_are_those_of_the_plain_loss(name):
    model = MODELS[name]()
    problems = problems_for(model, batch=3, steps=5)
    states, actions = somewhere(problems, model)
    weight = weights(problems)
    leaves = states.clone().requires_grad_(), actions.clone().requires_grad_()
    predicted = lifted_step(model, problems.context, *leaves)
    plain = torch.zeros((), dtype=F64)
    for row in range(3):
        for t in range(5):
            error = predicted[row, t] - problems.goal[row]
            plain = plain + weight[row, t] * error.square().mean()
            if t < 4:
                plain = plain + (predicted[row, t] - leaves[0][row, t]).square().mean()
    expected = torch.autograd.grad(plain, leaves)
    got = full_lifted_gradients(model, problems, states, actions, weight)
    torch.testing.assert_close(got, expected)
    step = 1e-5
    for which, (row, t, feature) in ((0, (1, 2, 0)), (1, (2, 3, 1))):
        moved = [states.clone(), actions.clone()]
        moved[which][row, t, feature] += step
        up = lifted_loss(model, problems, *moved, weight)[row]
        moved[which][row, t, feature] -= 2 * step
        slope = (up - lifted_loss(model, problems, *moved, weight)[row]) / (2 * step)
        assert float(got[which][row, t, feature]) == pytest.approx(float(slope), rel=1e-6, abs=1e-9)


def test_full_gradients_equal_the_reshaped_ones_where_nothing_flows_through_states():
    model = LinearQuadratic(
        torch.zeros(3, 3, dtype=F64), torch.randn(3, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    )
    problems = problems_for(model, steps=4)
    states, actions = somewhere(problems, model)
    reshaped = lifted_gradients(model, problems, states, actions, weights(problems))
    torch.testing.assert_close(full_lifted_gradients(model, problems, states, actions, weights(problems)), reshaped)


def test_full_gradients_of_one_step_have_no_states():
    model = world()
    problems = problems_for(model, steps=1)
    states, actions = somewhere(problems, model)
    to_states, to_actions = full_lifted_gradients(model, problems, states, actions, weights(problems))
    assert to_states.shape == (3, 0, 4)
    assert to_actions.abs().sum() > 0


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_grasp_steps_along_the_gradients_that_its_setting_names(stop_gradient):
    model = smooth_mlp()
    problems = problems_for(model, steps=5, bound=10.0)
    rates = {"optimizer": "gd", "lr_actions": 0.3, "lr_states": 0.2, "noise": 0.0, "goal_weight": 0.3}
    settings = {"iterations": 2, "sync_every": 0, "stop_gradient": stop_gradient, **rates}
    plans = make_planner("grasp", settings).plan(model, problems, range(3))
    states, actions = interpolated_states(problems), torch.zeros(3, 5, 2, dtype=F64)
    gradients = lifted_gradients if stop_gradient else full_lifted_gradients
    for _ in range(2):  # the action gradients differ from the second step on, through the states
        to_states, to_actions = gradients(model, problems, states, actions, weights(problems))
        states, actions = states - 0.2 * to_states, actions - 0.3 * to_actions
    torch.testing.assert_close(plans.last_cost, final_cost(model, problems, actions))
    reshaped = make_planner("grasp", {**settings, "stop_gradient": True}).plan(model, problems, range(3))
    assert torch.equal(plans.last_cost, reshaped.last_cost) == stop_gradient


@pytest.mark.parametrize("steps", [1, 3, 12])
def test_shooting_curvature_of_a_linear_world_is_that_of_its_reachability_matrix(steps):
    model = world(1.1)
    problems = problems_for(model, steps=steps)
    _, actions = somewhere(problems, model)
    measured = curvature(shooting_objective(model, problems), actions.flatten(1))
    reach = reachability(model.A, model.B, steps)
    values = torch.linalg.eigvalsh(2 / 4 * reach.T @ reach)
    expected = values[-1].expand(3)
    torch.testing.assert_close(measured.gauss_newton, expected)
    torch.testing.assert_close(measured.hessian, expected)
    rank = min(4, 2 * steps)
    torch.testing.assert_close(shooting_condition(model, problems, actions), (values[-1] / values[-rank]).expand(3))


@pytest.mark.parametrize("name", MODELS)
def test_lifted_curvature_and_condition_are_those_of_the_dense_matrix(name):
    model = MODELS[name]()
    problems = problems_for(model, batch=2, steps=4)
    states, actions = somewhere(problems, model)
    objective = lifted_objective(twice_differentiable(model), problems, weights(problems))
    x = flat_variables(states, actions)
    torch.testing.assert_close(objective(x), lifted_loss(model, problems, states, actions, weights(problems)))
    measured = curvature(objective, x, iterations=x.shape[1])
    product = gauss_newton_product(objective, x)
    columns = [product(unit.expand_as(x)) for unit in torch.eye(x.shape[1], dtype=F64)]
    matrices = torch.stack(columns, 2)
    values = torch.linalg.eigvalsh(matrices)
    torch.testing.assert_close(measured.gauss_newton, values[:, -1])
    features = problems.goal.shape[1]
    rank = min(x.shape[1], 3 * features + 4 * features)
    expected = values[:, -1] / values[:, -rank]
    torch.testing.assert_close(
        lifted_condition(model, problems, states, actions, weights(problems)), expected, rtol=1e-6, atol=0
    )
    for row in range(2):
        whole = torch.linalg.eigvalsh(dense_hessian(objective, x, row))
        assert float(measured.hessian[row]) == pytest.approx(float(whole.abs().max()), rel=1e-8)


def test_a_hidden_direction_of_the_goal_does_not_count():
    model = world()
    problems = problems_for(model, steps=6)
    cost = StateGoalCost(torch.tensor([2.0, 2.0, 0.0, 0.0], dtype=F64))
    problems = ModelProblems(problems.context, problems.goal, 6, problems.low, problems.high, cost)
    reach = reachability(model.A, model.B, 6)[:2]
    values = torch.linalg.eigvalsh(reach @ reach.T)
    _, actions = somewhere(problems, model)
    torch.testing.assert_close(shooting_condition(model, problems, actions), (values[1] / values[0]).expand(3))


def test_hessian_of_a_smooth_network_is_torchs():
    model = twice_differentiable(smooth_mlp())
    problems = problems_for(model, batch=2, steps=3)
    _, actions = somewhere(problems, model)
    objective, x = shooting_objective(model, problems), actions.flatten(1)
    product = hessian_product(objective, x)
    matrix = torch.stack([product(unit.expand_as(x)) for unit in torch.eye(6, dtype=F64)], 2)
    for row in range(2):
        torch.testing.assert_close(matrix[row], dense_hessian(objective, x, row))


def test_a_frozen_network_is_copied_not_changed():
    model = small_mlp(F64)
    copied = twice_differentiable(model)
    assert copied is not model
    assert not any(parameter.requires_grad for parameter in model.parameters())
    problems = problems_for(model, steps=4)
    _, actions = somewhere(problems, model)
    assert bool((curvature(shooting_objective(copied, problems), actions.flatten(1)).gauss_newton > 0).all())
    linear = world()
    assert twice_differentiable(linear) is linear


def test_lanczos_finds_the_eigenvalue_of_largest_magnitude_of_each_row():
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(2, 30, 30, generator=generator, dtype=F64))[0]
    values = torch.stack([torch.linspace(-3, 1, 30, dtype=F64), torch.linspace(-1, 5, 30, dtype=F64)])
    matrices = basis @ torch.diag_embed(values) @ basis.mT
    found = extreme_eigenvalue(lambda v: torch.einsum("bij,bj->bi", matrices, v), torch.zeros(2, 30, dtype=F64), iterations=30)
    torch.testing.assert_close(found, torch.tensor([-3.0, 5.0], dtype=F64))
    alone = extreme_eigenvalue(lambda v: v @ matrices[1], torch.zeros(1, 30, dtype=F64), iterations=30)
    torch.testing.assert_close(alone, found[1:])
    zero = extreme_eigenvalue(torch.zeros_like, torch.zeros(2, 5, dtype=F64))
    assert zero.tolist() == [0, 0]
