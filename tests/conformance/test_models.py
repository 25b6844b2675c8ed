"""Requirements on every kind of world model, whatever is inside: planners rely on all of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.conformance.model_kinds import MODELS, Kind
from world_models.base import (
    Context,
    PixelObservation,
    WorldModel,
    autograd_pullback,
    autograd_vjp,
    lifted_step,
    rollout,
    serial_rollout,
    step_pullback,
    step_vjp,
)

DOUBLE, SINGLE = torch.float64, torch.float32
ROWS = 7
STEPS = 5
EPS = 1e-6


@pytest.fixture(params=MODELS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return MODELS[request.param]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoded(kind: Kind, model: WorldModel, count: int, seed: int = 0) -> Tensor:
    with torch.no_grad():
        return model.encode(in_type(kind.observe(count, generator(seed)), model.dtype))


def in_type(observation: Tensor | PixelObservation, dtype: torch.dtype) -> Tensor | PixelObservation:
    if isinstance(observation, PixelObservation):
        return PixelObservation(observation.pixels, observation.proprioception.to(dtype))
    return observation.to(dtype)


def rows_of(observation: Tensor | PixelObservation, rows: list[int]) -> Tensor | PixelObservation:
    if isinstance(observation, PixelObservation):
        return PixelObservation(observation.pixels[rows], observation.proprioception[rows])
    return observation[rows]


def window(kind: Kind, model: WorldModel, count: int = ROWS, seed: int = 0) -> tuple[Tensor, Tensor]:
    """States and actions for a step: encoded observations, as the model knows them, and actions within the bounds."""
    h = model.history
    states = encoded(kind, model, count * h, seed).unflatten(0, (count, h))
    actions = 1.6 * torch.rand(count, h, model.action_dim, generator=generator(seed + 1), dtype=DOUBLE) - 0.8
    return states, actions.to(model.dtype)


def problem(kind: Kind, model: WorldModel, count: int = 3, steps: int = STEPS) -> tuple[Context, Tensor]:
    states, actions = window(kind, model, count)
    taken = 1.6 * torch.rand(count, steps, model.action_dim, generator=generator(5), dtype=DOUBLE) - 0.8
    return Context(states, actions[:, 1:]), taken.to(model.dtype)


def directional(function: Callable[[Tensor], Tensor], at: Tensor, checks: int = 6) -> None:
    """Derivatives of a random combination of the outputs along random directions: autograd's against central differences."""
    weights = torch.randn(function(at).shape, generator=generator(7), dtype=DOUBLE)
    leaf = at.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((function(leaf) * weights).sum(), leaf)
    for check in range(checks):
        way = torch.randn(at.shape, generator=generator(8 + check), dtype=DOUBLE)
        with torch.no_grad():
            rise = ((function(at + EPS * way) - function(at - EPS * way)) * weights).sum() / (2 * EPS)
        expected = float((gradient * way).sum())
        assert float(rise) == pytest.approx(expected, rel=1e-4, abs=1e-5 * float(gradient.norm()) + 1e-7)


def test_is_a_world_model_of_its_sizes(kind: Kind) -> None:
    for dtype in (SINGLE, DOUBLE):
        model = kind.make(dtype)
        assert isinstance(model, WorldModel)
        assert (model.dtype, model.history >= 1, model.action_dim >= 1) == (dtype, True, True)
        for count in (1, 2, ROWS):
            states, actions = window(kind, model, count)
            following = model.step(states, actions)
            assert states.shape[2:] == following.shape[1:] == model.state_shape
            assert (len(following), following.dtype, following.device) == (count, dtype, model.device)


def test_action_gradients_of_step_agree_with_finite_differences(kind: Kind) -> None:
    model = kind.make(DOUBLE)
    states, actions = window(kind, model)
    directional(lambda taken: model.step(states, taken), actions)


def test_state_gradients_of_step_agree_with_finite_differences(kind: Kind) -> None:
    model = kind.make(DOUBLE)
    states, actions = window(kind, model)
    directional(lambda seen: model.step(seen, actions), states)


def test_action_gradients_of_rollouts_agree_with_finite_differences(kind: Kind) -> None:
    model = kind.make(DOUBLE)
    context, actions = problem(kind, model)
    directional(lambda taken: rollout(model, context, taken), actions)


def test_encode_and_step_are_the_same_for_any_split_and_order_of_a_batch(kind: Kind) -> None:
    model = kind.make(SINGLE)
    observation = kind.observe(ROWS, generator())
    states, actions = window(kind, model)
    with torch.no_grad():
        whole, following = model.encode(observation), model.step(states, actions)
        for rows in ([0], [1, 2, 3], [6, 4, 5], [6, 5, 4, 3, 2, 1, 0]):
            torch.testing.assert_close(model.encode(rows_of(observation, rows)), whole[rows], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(model.step(states[rows], actions[rows]), following[rows], rtol=1e-5, atol=1e-5)


def test_rows_do_not_influence_each_other(kind: Kind) -> None:
    model = kind.make(DOUBLE)
    states, actions = window(kind, model)
    actions.requires_grad_()
    (gradient,) = torch.autograd.grad(model.step(states, actions)[2].sum(), actions)
    assert gradient[[0, 1, 3, 4, 5, 6]].eq(0).all()
    assert gradient[2].ne(0).any()


def test_every_state_and_action_of_the_window_counts(kind: Kind) -> None:
    """A model that ignored the older ones would not have the history it declares."""
    model = kind.make(DOUBLE)
    states, actions = window(kind, model)
    following = model.step(states, actions)
    for slot in range(model.history):
        other_states, other_actions = states.clone(), actions.clone()
        other_states[:, slot] = encoded(kind, model, ROWS, seed=50)
        other_actions[:, slot] *= -1
        assert not torch.equal(model.step(other_states, actions), following), f"state {slot} does not matter"
        assert not torch.equal(model.step(states, other_actions), following), f"action {slot} does not matter"


def test_rollouts_see_the_past_they_should_and_no_future(kind: Kind) -> None:
    model = kind.make(DOUBLE)
    context, actions = problem(kind, model, steps=STEPS + model.history)
    actions.requires_grad_()
    states = rollout(model, context, actions)
    for t in range(actions.shape[1]):
        (gradient,) = torch.autograd.grad(states[:, t].sum(), actions, retain_graph=True)
        assert gradient[:, t + 1 :].eq(0).all(), "a state depends on later actions"
        assert gradient[:, t].ne(0).any(), "a state does not depend on the action before it"


def test_rollout_and_lifted_step_agree_with_single_steps(kind: Kind) -> None:
    model = kind.make(DOUBLE)
    context, actions = problem(kind, model, steps=STEPS + model.history)
    with torch.no_grad():
        states = rollout(model, context, actions)
        torch.testing.assert_close(states, serial_rollout(model, context, actions), rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(lifted_step(model, context, states[:, :-1], actions), states, rtol=1e-9, atol=1e-10)


def test_nothing_is_remembered_between_calls(kind: Kind) -> None:
    model = kind.make(SINGLE)
    observation = kind.observe(ROWS, generator())
    states, actions = window(kind, model)
    before = states.clone(), actions.clone()
    first = model.encode(observation), model.step(states, actions)
    others = window(kind, model, 3, seed=20)
    model.step(*others)
    rollout(model, *problem(kind, model))
    assert torch.equal(model.encode(observation), first[0])
    assert torch.equal(model.step(states, actions), first[1])
    assert torch.equal(states, before[0]), "a step changed its states"
    assert torch.equal(actions, before[1]), "a step changed its actions"


def test_no_gradient_is_switched_off_or_on_inside(kind: Kind) -> None:
    model = kind.make(DOUBLE)
    states, actions = window(kind, model)
    with torch.no_grad():
        assert not model.step(states, actions.requires_grad_()).requires_grad
        assert torch.is_grad_enabled() is False
    assert model.step(states, actions).requires_grad
    assert torch.is_grad_enabled()


def test_float64_is_the_same_model_to_more_digits(kind: Kind) -> None:
    rough, fine = kind.make(SINGLE), kind.make(DOUBLE)
    states, actions = window(kind, rough)
    with torch.no_grad():
        torch.testing.assert_close(
            fine.step(states.double(), actions.double()).float(), rough.step(states, actions), rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(encoded(kind, fine, 3).float(), encoded(kind, rough, 3), rtol=1e-4, atol=1e-4)


def test_pullback_and_vjp_are_autograds(kind: Kind) -> None:
    model = kind.make(DOUBLE)
    states, actions = window(kind, model)
    following, pullback = step_pullback(model, states, actions)
    cotangent = torch.randn(following.shape, generator=generator(9), dtype=DOUBLE)
    reference, autograds = autograd_pullback(model, states, actions)
    torch.testing.assert_close(following, reference, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(pullback(cotangent), autograds(cotangent), rtol=1e-8, atol=1e-10)
    assert not following.requires_grad
    _, vjp = step_vjp(model, states, actions)
    _, by_autograd = autograd_vjp(model, states, actions)
    for each in (cotangent, -2 * cotangent, cotangent):
        for one, other in zip(vjp(each), by_autograd(each), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_steps_are_finite_at_the_bounds_of_actions(kind: Kind) -> None:
    model = kind.make(SINGLE)
    size = min(model.action_dim, 4)
    corners = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=size)))
    corners = corners.repeat(1, -(-model.action_dim // size))[:, : model.action_dim]
    states, _ = window(kind, model, 1)
    context = Context.at(model, states[:, -1].expand(len(corners), *model.state_shape))
    held = corners.unsqueeze(1).repeat(1, 20, 1).requires_grad_()
    end = rollout(model, context, held)
    assert torch.isfinite(end).all()
    (gradient,) = torch.autograd.grad(end[:, -1].sum(), held)
    assert torch.isfinite(gradient).all()
