"""The residual MLP: its frozen fast path is the plain network, derivatives included."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from world_models.base import (
    Context,
    GoalCost,
    QuadraticCost,
    SquaredDistance,
    WorldModel,
    autograd_pullback,
    rollout,
    serial_rollout,
    step_pullback,
)
from world_models.errors import UnknownNameError, UserError
from world_models.models.mlp import MLPConfig, ResidualMLP, StateGoalCost
from world_models.models.mlp_frozen import FAST_ACTIVATIONS


def make(dtype: torch.dtype = torch.float64, **config: object) -> ResidualMLP:
    torch.manual_seed(0)
    model = ResidualMLP(MLPConfig(**{"observation_dim": 5, "action_dim": 2, "width": 24, **config}))  # pyright: ignore
    model.set_normalisation(torch.randn(5), torch.rand(5) + 0.5, torch.rand(5) * 0.1 + 0.01)
    return model.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("activation", FAST_ACTIVATIONS)
def test_frozen_step_is_the_plain_step(dtype: torch.dtype, depth: int, layer_norm: bool, activation: str) -> None:
    model = make(dtype, depth=depth, layer_norm=layer_norm, action_block=3, activation=activation)
    states = torch.randn(50, 1, 5, dtype=dtype, requires_grad=True)
    actions = torch.randn(50, 1, 6, dtype=dtype, requires_grad=True)
    cotangent = torch.randn(50, 5, dtype=dtype)
    plain = model.step(states, actions)
    plain_gradients = torch.autograd.grad(plain, (states, actions), cotangent)
    model.requires_grad_(False)
    frozen = model.step(states, actions)
    frozen_gradients = torch.autograd.grad(frozen, (states, actions), cotangent, retain_graph=True)
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-13}
    torch.testing.assert_close(frozen, plain, **close)
    for one, other in zip(frozen_gradients, plain_gradients, strict=True):
        torch.testing.assert_close(one, other, **close)
    again = torch.autograd.grad(frozen, (states, actions), cotangent)
    for one, other in zip(again, frozen_gradients, strict=True):
        assert torch.equal(one, other), "a second backward pass through one graph gives the same"


@pytest.mark.parametrize("activation", FAST_ACTIVATIONS)
def test_derivative_of_the_frozen_step_is_right(activation: str) -> None:
    model = make(activation=activation).requires_grad_(False)
    states = torch.randn(3, 1, 5, dtype=torch.float64, requires_grad=True)
    actions = torch.randn(3, 1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model.step, (states, actions))


def test_a_second_derivative_is_right_with_open_weights_and_refused_with_frozen_ones() -> None:
    model = make()
    states, actions = torch.randn(3, 1, 5, dtype=torch.float64), torch.randn(3, 1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda a: model.step(states, a), (actions,))
    model.requires_grad_(False)
    (gradient,) = torch.autograd.grad(model.step(states, actions).square().sum(), actions, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", FAST_ACTIVATIONS)
def test_the_frozen_rollout_is_the_serial_one(dtype: torch.dtype, activation: str) -> None:
    model = make(dtype, activation=activation)
    start = torch.randn(6, 1, 5, dtype=dtype, requires_grad=True)
    actions = torch.randn(6, 9, 2, dtype=dtype, requires_grad=True)
    cotangent = torch.randn(6, 9, 5, dtype=dtype)

    def unrolled() -> tuple[torch.Tensor, ...]:
        states = rollout(model, Context(start, start.new_zeros(6, 0, 2)), actions)
        return states, *torch.autograd.grad(states, (start, actions), cotangent)

    plain = unrolled()
    context = Context(start, start.new_zeros(6, 0, 2))
    torch.testing.assert_close(plain[0], serial_rollout(model, context, actions))
    model.requires_grad_(False)
    for one, other in zip(unrolled(), plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=1e-6)
    (last_only,) = torch.autograd.grad(rollout(model, context, actions)[:, -1].sum(), actions)
    (reference,) = torch.autograd.grad(serial_rollout(model, context, actions)[:, -1].sum(), actions)
    torch.testing.assert_close(last_only, reference, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("activation", ["relu", "silu", "tanh"])
def test_the_pullback_is_autograds(frozen: bool, activation: str) -> None:
    model = make(activation=activation).requires_grad_(not frozen)
    states, actions = torch.randn(7, 1, 5, dtype=torch.float64), torch.randn(7, 1, 2, dtype=torch.float64)
    cotangent = torch.randn(7, 5, dtype=torch.float64)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            following, pullback = step_pullback(model, states, actions)
            reference, autograds = autograd_pullback(model, states, actions)
            torch.testing.assert_close(following, reference, rtol=1e-12, atol=1e-13)
            torch.testing.assert_close(pullback(cotangent), autograds(cotangent), rtol=1e-12, atol=1e-13)
            assert not following.requires_grad


def test_changed_weights_are_noticed_and_copies_stand_alone() -> None:
    model = make(torch.float32).requires_grad_(False)
    states, actions = torch.randn(3, 1, 5), torch.randn(3, 1, 2)
    before = model.step(states, actions)
    twin, restored = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    with torch.no_grad():
        model.out.weight.mul_(2)
        model.state_in.weight.add_(0.1)
    after = model.step(states, actions)
    expected = torch.addcmul(states[:, 0], model.delta_scale, model.delta(states[:, 0], actions[:, 0]))
    torch.testing.assert_close(after, expected)
    assert not torch.allclose(after, before)
    for other in (twin, restored):
        assert torch.equal(other.step(states, actions), before)
    wide = model.double()
    assert wide.step(states.double(), actions.double()).dtype == torch.float64


@pytest.mark.parametrize("cost", [SquaredDistance(), StateGoalCost(torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64))])
def test_quadratic_costs_are_what_their_weights_say(cost: GoalCost) -> None:
    assert isinstance(cost, QuadraticCost)
    states, goals = torch.randn(2, 4, 3, dtype=torch.float64)
    weighted = cost.feature_weights(goals) * (states - goals).square()
    torch.testing.assert_close(cost(states, goals), weighted.mean(1))


def test_partly_frozen_models_still_train() -> None:
    model = make().requires_grad_(False)
    model.out.bias.requires_grad_(True)
    model.step(torch.randn(3, 1, 5).double(), torch.randn(3, 1, 2).double()).sum().backward()
    assert model.out.bias.grad is not None


def test_encode_and_decode_are_inverse_and_rows_are_independent() -> None:
    model = make()
    observation = torch.randn(7, 5, dtype=torch.float64)
    torch.testing.assert_close(model.decode(model.encode(observation)), observation)
    assert isinstance(model, WorldModel)
    states, actions = torch.randn(7, 1, 5, dtype=torch.float64), torch.randn(7, 1, 2, dtype=torch.float64)
    torch.testing.assert_close(model.step(states, actions)[3:4], model.step(states[3:4], actions[3:4]))


def test_goal_cost() -> None:
    cost = StateGoalCost(torch.tensor([1.0, 0.0, 3.0]))
    assert isinstance(cost, GoalCost)
    states, goals = torch.tensor([[1.0, 5.0, 2.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    assert cost(states, goals).item() == pytest.approx((1 + 3) / 3)
    assert cost(goals, goals).item() == 0
    for weights in ([-1.0, 1.0], [0.0, 0.0], [float("nan"), 1.0]):
        with pytest.raises(UserError, match="goal weights"):
            StateGoalCost(torch.tensor(weights))


def test_nonsense_is_refused() -> None:
    with pytest.raises(UserError, match="width 0"):
        MLPConfig(observation_dim=1, action_dim=1, width=0)
    with pytest.raises(UnknownNameError, match="did you mean 'relu'"):
        MLPConfig(observation_dim=1, action_dim=1, activation="rellu")
    with pytest.raises(UserError, match="std"):
        make().set_normalisation(torch.zeros(5), torch.zeros(5), torch.ones(5))
