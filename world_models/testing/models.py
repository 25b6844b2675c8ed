"""Requirements on every kind of world model, whatever is inside: planners rely on all of them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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
    takes_shorter_windows,
)

DOUBLE, SINGLE = torch.float64, torch.float32
ROWS, STEPS = 7, 5
EPS = 1e-6
"""Half the distance of central differences."""

Observe = Callable[[int, torch.Generator], Tensor | PixelObservation]
"""Makes that many random observations, in float32 or `uint8`."""


@dataclass(frozen=True)
class ModelCase:
    """A kind of world model: how one is made in a floating type (the same weights in each), and what it observes."""

    make: Callable[[torch.dtype], WorldModel]
    observe: Observe

    @staticmethod
    def of_module(model: nn.Module, observe: Observe) -> ModelCase:
        """The case of a model that is a torch module: copied, frozen and in evaluation mode."""

        def make(dtype: torch.dtype) -> WorldModel:
            made = copy.deepcopy(model).to(dtype).requires_grad_(False).eval()
            assert isinstance(made, WorldModel), f"{type(model).__name__} lacks a property or method of WorldModel"
            return made

        return ModelCase(make, observe)

    def observations(self, count: int) -> Tensor | PixelObservation:
        """Observations, the same at every call."""
        return self.observe(count, _generator())

    def encoded(self, model: WorldModel, count: int, seed: int = 0) -> Tensor:
        """States of random observations."""
        with torch.no_grad():
            return model.encode(_in_type(self.observe(count, _generator(seed)), model.dtype))

    def window(self, model: WorldModel, count: int = ROWS, seed: int = 0) -> tuple[Tensor, Tensor]:
        """States `[count, h, *state]` and actions `[count, h, action]` that a step sees.

        States are those of observations, so that the model knows such; actions lie within the bounds.
        """
        h = model.history
        states = self.encoded(model, count * h, seed).unflatten(0, (count, h))
        actions = 1.6 * torch.rand(count, h, model.action_dim, generator=_generator(seed + 1), dtype=DOUBLE) - 0.8
        return states, actions.to(model.dtype)

    def problem(self, model: WorldModel, count: int = 3, steps: int = STEPS) -> tuple[Context, Tensor]:
        """A context and actions `[count, steps, action]` to roll out from it."""
        states, actions = self.window(model, count)
        taken = 1.6 * torch.rand(count, steps, model.action_dim, generator=_generator(5), dtype=DOUBLE) - 0.8
        return Context(states, actions[:, 1:]), taken.to(model.dtype)


def vectors(features: int) -> Observe:
    """Random state observations of that many features."""
    return lambda count, generator: torch.randn(count, features, generator=generator)


def pixel_observations(size: int, proprioception: int) -> Observe:
    """Random images of `size` px, and proprioception of that many features."""

    def observe(count: int, generator: torch.Generator) -> PixelObservation:
        pixels = torch.randint(256, (count, size, size, 3), generator=generator, dtype=torch.uint8)
        return PixelObservation(pixels, torch.randn(count, proprioception, generator=generator))

    return observe


def check_world_model(model: nn.Module | ModelCase, observe: Observe | None = None) -> None:
    """Check everything that planners count on; AssertionError for the first promise that is broken.

    `observe` makes observations for a torch module, e.g. `vectors(4)`; a model of another kind is given as a `ModelCase`.
    """
    if isinstance(model, nn.Module):
        if observe is None:
            raise TypeError("check_world_model needs to know what the model observes: give e.g. vectors(4) as `observe`.")
        model = ModelCase.of_module(model, observe)
    for check in MODEL_CHECKS:
        check(model)


def is_a_world_model_of_its_sizes(case: ModelCase) -> None:
    """Steps keep the declared shapes, type and device, for any number of rows."""
    for dtype in (SINGLE, DOUBLE):
        model = case.make(dtype)
        assert isinstance(model, WorldModel), f"{type(model).__name__} lacks a property or method of WorldModel"
        assert model.dtype == dtype, f"the model says {model.dtype} and was made in {dtype}"
        assert model.history >= 1, f"history {model.history} is below 1"
        assert model.action_dim >= 1, f"action_dim {model.action_dim} is below 1"
        for count in (1, 2, ROWS):
            states, actions = case.window(model, count)
            following = model.step(states, actions)
            for name, shape in (("encode", states.shape[2:]), ("step", following.shape[1:])):
                assert shape == model.state_shape, f"{name} gives states of shape {tuple(shape)}, not {model.state_shape}"
            assert len(following) == count, f"a step of {count} rows gives {len(following)}"
            assert following.dtype == dtype, f"a step in {dtype} gives {following.dtype}"
            assert following.device == model.device, f"a step on {model.device} gives states on {following.device}"


def action_gradients_of_step_agree_with_finite_differences(case: ModelCase) -> None:
    """Autograd derives a step to its actions correctly."""
    model = case.make(DOUBLE)
    states, actions = case.window(model)
    _check_gradient(lambda taken: model.step(states, taken), actions, "a step to its actions")


def state_gradients_of_step_agree_with_finite_differences(case: ModelCase) -> None:
    """Autograd derives a step to its states correctly."""
    model = case.make(DOUBLE)
    states, actions = case.window(model)
    _check_gradient(lambda seen: model.step(seen, actions), states, "a step to its states")


def action_gradients_of_rollouts_agree_with_finite_differences(case: ModelCase) -> None:
    """Autograd derives a rollout to its actions correctly."""
    model = case.make(DOUBLE)
    context, actions = case.problem(model)
    _check_gradient(lambda taken: rollout(model, context, taken), actions, "a rollout to its actions")


def encode_and_step_are_the_same_for_any_split_and_order_of_a_batch(case: ModelCase) -> None:
    """Rows give the same alone, in parts and in another order."""
    model = case.make(SINGLE)
    observation = case.observations(ROWS)
    states, actions = case.window(model)
    with torch.no_grad():
        whole, following = model.encode(observation), model.step(states, actions)
        for rows in ([0], [1, 2, 3], [6, 4, 5], [6, 5, 4, 3, 2, 1, 0]):
            _close(model.encode(_rows(observation, rows)), whole[rows], f"encode of rows {rows} differs from the batch's", 1e-5)
            _close(model.step(states[rows], actions[rows]), following[rows], f"rows {rows} step differently alone", 1e-5)


def rows_do_not_influence_each_other(case: ModelCase) -> None:
    """No row's next state depends on another row's actions."""
    model = case.make(DOUBLE)
    states, actions = case.window(model)
    actions.requires_grad_()
    (gradient,) = torch.autograd.grad(model.step(states, actions)[2].sum(), actions)
    assert gradient[[0, 1, 3, 4, 5, 6]].eq(0).all(), "the next state of a row depends on the actions of others"
    assert gradient[2].ne(0).any(), "the next state of a row does not depend on its actions"


def every_state_and_action_of_the_window_counts(case: ModelCase) -> None:
    """A model that ignored the older ones would not have the history it declares."""
    model = case.make(DOUBLE)
    states, actions = case.window(model)
    following = model.step(states, actions)
    for slot in range(model.history):
        other_states, other_actions = states.clone(), actions.clone()
        other_states[:, slot] = case.encoded(model, ROWS, seed=50)
        other_actions[:, slot] *= -1
        assert not torch.equal(model.step(other_states, actions), following), f"state {slot} does not matter"
        assert not torch.equal(model.step(states, other_actions), following), f"action {slot} does not matter"


def rollouts_see_the_past_they_should_and_no_future(case: ModelCase) -> None:
    """A state depends on the action before it, and on none after it."""
    model = case.make(DOUBLE)
    context, actions = case.problem(model, steps=STEPS + model.history)
    actions.requires_grad_()
    states = rollout(model, context, actions)
    for t in range(actions.shape[1]):
        (gradient,) = torch.autograd.grad(states[:, t].sum(), actions, retain_graph=True)
        assert gradient[:, t + 1 :].eq(0).all(), f"state {t + 1} of a rollout depends on later actions"
        assert gradient[:, t].ne(0).any(), f"state {t + 1} of a rollout does not depend on the action before it"


def rollout_and_lifted_step_agree_with_single_steps(case: ModelCase) -> None:
    """The model's own rollout, and all steps at once, are what single steps give."""
    model = case.make(DOUBLE)
    context, actions = case.problem(model, steps=STEPS + model.history)
    with torch.no_grad():
        states = rollout(model, context, actions)
        serial, lifted = serial_rollout(model, context, actions), lifted_step(model, context, states[:, :-1], actions)
        _close(states, serial, "the model's rollout differs from its single steps", 1e-9, 1e-10)
        _close(lifted, states, "all steps at once differ from the rollout", 1e-9, 1e-10)


def windows_grow_until_they_are_whole(case: ModelCase) -> None:
    """If the model takes shorter windows, a rollout from one state is its single steps, and goes on as from a whole context."""
    model = case.make(DOUBLE)
    h = model.history
    if h == 1 or not takes_shorter_windows(model):
        return
    context, actions = case.problem(model, steps=STEPS + h)
    first = Context(context.states[:, -1:], context.actions[:, :0])
    with torch.no_grad():
        states = rollout(model, first, actions)
        path = torch.cat([first.states, states], 1)
        seen = [slice(max(0, t + 1 - h), t + 1) for t in range(actions.shape[1])]
        steps = torch.stack([model.step(path[:, window], actions[:, window]) for window in seen], 1)
        _close(states, steps, "a rollout from one state differs from single steps with the windows so far", 1e-9, 1e-10)
        lifted = lifted_step(model, first, states[:, :-1], actions)
        _close(lifted, states, "all steps at once differ from the rollout from one state", 1e-9, 1e-10)
        whole = rollout(model, Context(path[:, :h], actions[:, : h - 1]), actions[:, h - 1 :])
        _close(whole, states[:, h - 1 :], "a window that has grown is not a whole one", 1e-9, 1e-10)


def nothing_is_remembered_between_calls(case: ModelCase) -> None:
    """Calls in between change no result, and no call changes its arguments."""
    model = case.make(SINGLE)
    observation = case.observations(ROWS)
    states, actions = case.window(model)
    before = states.clone(), actions.clone()
    first = model.encode(observation), model.step(states, actions)
    model.step(*case.window(model, 3, seed=20))
    rollout(model, *case.problem(model))
    assert torch.equal(model.encode(observation), first[0]), "encode gives something else after other calls"
    assert torch.equal(model.step(states, actions), first[1]), "a step gives something else after other calls"
    assert torch.equal(states, before[0]), "a step changed its states"
    assert torch.equal(actions, before[1]), "a step changed its actions"


def no_gradient_is_switched_off_or_on_inside(case: ModelCase) -> None:
    """Whoever calls decides whether there are gradients."""
    model = case.make(DOUBLE)
    states, actions = case.window(model)
    with torch.no_grad():
        assert not model.step(states, actions.requires_grad_()).requires_grad, "a step switches gradients on"
        assert torch.is_grad_enabled() is False, "a step leaves gradients switched on"
    assert model.step(states, actions).requires_grad, "a step switches gradients off"
    assert torch.is_grad_enabled(), "a step leaves gradients switched off"


def float64_is_the_same_model_to_more_digits(case: ModelCase) -> None:
    """Both precisions give the same, up to rounding."""
    rough, fine = case.make(SINGLE), case.make(DOUBLE)
    states, actions = case.window(rough)
    with torch.no_grad():
        double = fine.step(states.double(), actions.double()).float()
        _close(double, rough.step(states, actions), "a step differs between float64 and float32", 1e-4)
        _close(case.encoded(fine, 3).float(), case.encoded(rough, 3), "encode differs between float64 and float32", 1e-4)


def pullback_and_vjp_are_autograds(case: ModelCase) -> None:
    """A model's own derivatives of a step are those of autograd."""
    model = case.make(DOUBLE)
    states, actions = case.window(model)
    following, pullback = step_pullback(model, states, actions)
    cotangent = torch.randn(following.shape, generator=_generator(9), dtype=DOUBLE)
    reference, autograds = autograd_pullback(model, states, actions)
    _close(following, reference, "step_pullback gives other states than step", 1e-10, 1e-12)
    _close(pullback(cotangent), autograds(cotangent), "step_pullback's gradient is not autograd's", 1e-8, 1e-10)
    assert not following.requires_grad, "step_pullback's states carry a graph"
    _, vjp = step_vjp(model, states, actions)
    _, by_autograd = autograd_vjp(model, states, actions)
    for each in (cotangent, -2 * cotangent, cotangent):
        for one, other in zip(vjp(each), by_autograd(each), strict=True):
            _close(one, other, "step_vjp's gradient is not autograd's", 1e-8, 1e-10)


def steps_are_finite_at_the_bounds_of_actions(case: ModelCase) -> None:
    """Twenty steps with actions held at corners of their bounds give finite states and gradients."""
    model = case.make(SINGLE)
    size = min(model.action_dim, 4)
    corners = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=size)))
    corners = corners.repeat(1, -(-model.action_dim // size))[:, : model.action_dim]
    states, _ = case.window(model, 1)
    context = Context.at(model, states[:, -1].expand(len(corners), *model.state_shape))
    held = corners.unsqueeze(1).repeat(1, 20, 1).requires_grad_()
    end = rollout(model, context, held)
    assert torch.isfinite(end).all(), "a rollout with actions at their bounds is not finite"
    (gradient,) = torch.autograd.grad(end[:, -1].sum(), held)
    assert torch.isfinite(gradient).all(), "the gradient of a rollout with actions at their bounds is not finite"


MODEL_CHECKS: tuple[Callable[[ModelCase], None], ...] = (
    is_a_world_model_of_its_sizes,
    action_gradients_of_step_agree_with_finite_differences,
    state_gradients_of_step_agree_with_finite_differences,
    action_gradients_of_rollouts_agree_with_finite_differences,
    encode_and_step_are_the_same_for_any_split_and_order_of_a_batch,
    rows_do_not_influence_each_other,
    every_state_and_action_of_the_window_counts,
    rollouts_see_the_past_they_should_and_no_future,
    rollout_and_lifted_step_agree_with_single_steps,
    windows_grow_until_they_are_whole,
    nothing_is_remembered_between_calls,
    no_gradient_is_switched_off_or_on_inside,
    float64_is_the_same_model_to_more_digits,
    pullback_and_vjp_are_autograds,
    steps_are_finite_at_the_bounds_of_actions,
)
"""Each takes a case and raises AssertionError."""


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _in_type(observation: Tensor | PixelObservation, dtype: torch.dtype) -> Tensor | PixelObservation:
    if isinstance(observation, PixelObservation):
        return PixelObservation(observation.pixels, observation.proprioception.to(dtype))
    return observation.to(dtype)


def _rows(observation: Tensor | PixelObservation, rows: list[int]) -> Tensor | PixelObservation:
    if isinstance(observation, PixelObservation):
        return PixelObservation(observation.pixels[rows], observation.proprioception[rows])
    return observation[rows]


def _check_gradient(function: Callable[[Tensor], Tensor], at: Tensor, what: str, checks: int = 6) -> None:
    """Derivatives of a random combination of the outputs along random directions: autograd's against central differences."""
    weights = torch.randn(function(at).shape, generator=_generator(7), dtype=DOUBLE)
    leaf = at.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((function(leaf) * weights).sum(), leaf)
    for check in range(checks):
        way = torch.randn(at.shape, generator=_generator(8 + check), dtype=DOUBLE)
        with torch.no_grad():
            rise = float(((function(at + EPS * way) - function(at - EPS * way)) * weights).sum() / (2 * EPS))
        expected = float((gradient * way).sum())
        slack = max(1e-4 * abs(expected), 1e-5 * float(gradient.norm()) + 1e-7)
        assert abs(rise - expected) <= slack, f"the gradient of {what} is {expected:g} along a direction, and rises by {rise:g}"


def _close(found: Tensor, expected: Tensor, sentence: str, rtol: float, atol: float | None = None) -> None:
    torch.testing.assert_close(
        found, expected, rtol=rtol, atol=rtol if atol is None else atol, msg=lambda details: f"{sentence}: {details}"
    )
