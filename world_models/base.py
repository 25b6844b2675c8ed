"""The world-model contract, and two ways to apply a model to a sequence: a serial rollout, and all time steps at once.

Axis order is `[batch, time, feature]` everywhere. A state is the model's own (latent) state; its shape is `state_shape`.
Time runs over *model steps*: one model step takes `action_block` environment actions, concatenated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from world_models.time_windows import Windows, windows_along


@dataclass(frozen=True)
class PixelObservation:
    """Observation of a pixel model: images and proprioception."""

    pixels: UInt8[Tensor, "batch height width 3"]
    proprioception: Float[Tensor, "batch feature"]
    """Proprioception of the agent; no features for a model that takes none."""


@runtime_checkable
class WorldModel(Protocol):
    """A learned (or analytic) dynamics model s_{t+1} = F(s_{t-h+1..t}, a_{t-h+1..t}).

    Pure: no hidden state, no gradient switched off inside, any batch size.
    """

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of one state, without batch and time."""
        ...

    @property
    def action_dim(self) -> int:
        """Size of one model step's action: environment action size times `action_block`."""
        ...

    @property
    def history(self) -> int:
        """Number of states and actions that a step sees, h >= 1; the most of a `GrowingModel`."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of states and actions."""
        ...

    def encode(self, observation: Any) -> Float[Tensor, "batch *state"]:
        """States of observations: state observations `[batch, observation]`, or a `PixelObservation` for a pixel model."""
        ...

    def step(self, states: Float[Tensor, "n h *state"], actions: Float[Tensor, "n h action"]) -> Float[Tensor, "n *state"]:
        """The next state after each window of h states and the actions taken in them."""
        ...


@runtime_checkable
class GoalCost(Protocol):
    """Distance of states from goals: >= 0, zero at the goal, differentiable in `states`."""

    def __call__(self, states: Float[Tensor, "n *state"], goals: Float[Tensor, "n *state"]) -> Float[Tensor, " n"]:
        """Cost of each state against its goal, `[n]`."""
        ...


@runtime_checkable
class QuadraticCost(Protocol):
    """A goal cost of the form mean_i w_i (s_i - g_i)^2 over features i, for which planners need no autograd."""

    def feature_weights(self, goals: Float[Tensor, "batch *state"]) -> Float[Tensor, "*state"]:
        """The weights w, on the device and in the dtype of `goals`."""
        ...


@dataclass(frozen=True)
class SquaredDistance:
    """The default goal cost: the squared difference, averaged over features."""

    def __call__(self, states: Float[Tensor, "n *state"], goals: Float[Tensor, "n *state"]) -> Float[Tensor, " n"]:
        """Mean squared difference of each state to its goal, `[n]`."""
        return (states - goals).square().flatten(1).mean(1)

    def feature_weights(self, goals: Float[Tensor, "batch *state"]) -> Float[Tensor, "*state"]:
        """Weights of 1 for all features."""
        return goals.new_ones(goals.shape[1:])


@dataclass(frozen=True)
class Context:
    """The history known when planning starts: the last h states and the h - 1 actions between them.

    Of a `GrowingModel` it may hold fewer, at least the current state: then the window of states that a step sees grows along
    a rollout, by one state per step, until it holds h.
    """

    states: Float[Tensor, "batch known *state"]
    actions: Float[Tensor, "batch past action"]

    @staticmethod
    def at(model: WorldModel, state: Float[Tensor, "batch *state"]) -> Context:
        """A context at rest: `state` repeated, with null actions between, since a problem's start has no history."""
        states = state.unsqueeze(1).expand(state.shape[0], model.history, *state.shape[1:])
        return Context(states, state.new_zeros(state.shape[0], model.history - 1, model.action_dim))

    @property
    def last(self) -> Float[Tensor, "batch *state"]:
        """The current state s_0."""
        return self.states[:, -1]

    @property
    def known(self) -> int:
        """Number of states, the current one among them."""
        return self.states.shape[1]

    def along(
        self, model: WorldModel, states: Float[Tensor, "batch virtual *state"], actions: Float[Tensor, "batch time action"]
    ) -> list[Windows]:
        """The windows of the steps t = 0..T-1 that begin in s_0 and in `states` s_1..s_{T-1}, in the order of time."""
        path, taken = torch.cat([self.states, states], 1), torch.cat([self.actions, actions], 1)
        return windows_along(path, taken, self.known, model.history)


@runtime_checkable
class RolloutModel(Protocol):
    """A world model with its own rollout, faster than one `step` after another."""

    def rollout(self, context: Context, actions: Float[Tensor, "batch time action"]) -> Float[Tensor, "batch time *state"]:
        """The same as `serial_rollout(self, context, actions)`, derivatives included."""
        ...


def rollout(
    model: WorldModel, context: Context, actions: Float[Tensor, "batch time action"]
) -> Float[Tensor, "batch time *state"]:
    """States s_1..s_T that follow from `actions` a_0..a_{T-1}: the model's own `rollout` if it has one."""
    if isinstance(model, RolloutModel):
        return model.rollout(context, actions)
    return serial_rollout(model, context, actions)


def serial_rollout(
    model: WorldModel, context: Context, actions: Float[Tensor, "batch time action"]
) -> Float[Tensor, "batch time *state"]:
    """States s_1..s_T that follow from `actions` a_0..a_{T-1}, by one model call per step."""
    states, past, h = context.states, context.actions, model.history
    result = []
    for t in range(actions.shape[1]):
        window = torch.cat([past, actions[:, t : t + 1]], 1)
        # Keep the dtype of the states even if the model's products are rounded (`world_models.precision`).
        following = model.step(states, window).to(states.dtype)
        result.append(following)
        gone = max(0, states.shape[1] + 1 - h)
        states, past = torch.cat([states[:, gone:], following.unsqueeze(1)], 1), window[:, gone:]
    return torch.stack(result, 1)


Pullback = Callable[[Float[Tensor, "n *state"]], Float[Tensor, "n h action"]]
"""Map from the cotangents of next states to those of the actions that led there; may be called once."""


@runtime_checkable
class PullbackModel(Protocol):
    """A world model that differentiates its step with respect to the actions without an autograd graph."""

    def step_pullback(
        self, states: Float[Tensor, "n h *state"], actions: Float[Tensor, "n h action"]
    ) -> tuple[Float[Tensor, "n *state"], Pullback]:
        """The same as `autograd_pullback(self, states, actions)`."""
        ...


def step_pullback(
    model: WorldModel, states: Float[Tensor, "n h *state"], actions: Float[Tensor, "n h action"]
) -> tuple[Float[Tensor, "n *state"], Pullback]:
    """The next states, and their derivative with respect to the actions: the model's own `step_pullback` if it has one."""
    if isinstance(model, PullbackModel):
        return model.step_pullback(states, actions)
    return autograd_pullback(model, states, actions)


def autograd_pullback(
    model: WorldModel, states: Float[Tensor, "n h *state"], actions: Float[Tensor, "n h action"]
) -> tuple[Float[Tensor, "n *state"], Pullback]:
    """The next states, and their derivative with respect to the actions through the graph of one model call."""
    with torch.enable_grad():
        leaf = actions.detach().requires_grad_()
        following = model.step(states.detach(), leaf)

    def pullback(cotangent: Float[Tensor, "n *state"]) -> Float[Tensor, "n h action"]:
        return torch.autograd.grad(following, leaf, cotangent)[0]

    return following.detach(), pullback


Vjp = Callable[[Float[Tensor, "n *state"]], tuple[Float[Tensor, "n h *state"], Float[Tensor, "n h action"]]]
"""Map from the cotangents of next states to those of the states and actions that led there; may be called repeatedly."""


@runtime_checkable
class VjpModel(Protocol):
    """A world model that differentiates its step with respect to states and actions without an autograd graph."""

    def step_vjp(
        self, states: Float[Tensor, "n h *state"], actions: Float[Tensor, "n h action"]
    ) -> tuple[Float[Tensor, "n *state"], Vjp]:
        """The same as `autograd_vjp(self, states, actions)`."""
        ...


def step_vjp(
    model: WorldModel, states: Float[Tensor, "n h *state"], actions: Float[Tensor, "n h action"]
) -> tuple[Float[Tensor, "n *state"], Vjp]:
    """The next states, and their derivative with respect to states and actions: the model's `step_vjp` if it has one."""
    if isinstance(model, VjpModel):
        return model.step_vjp(states, actions)
    return autograd_vjp(model, states, actions)


def autograd_vjp(
    model: WorldModel, states: Float[Tensor, "n h *state"], actions: Float[Tensor, "n h action"]
) -> tuple[Float[Tensor, "n *state"], Vjp]:
    """The next states, and their derivative with respect to states and actions through the graph of one model call."""
    with torch.enable_grad():
        leaves = states.detach().requires_grad_(), actions.detach().requires_grad_()
        following = model.step(*leaves)

    def vjp(cotangent: Float[Tensor, "n *state"]) -> tuple[Float[Tensor, "n h *state"], Float[Tensor, "n h action"]]:
        to_states, to_actions = torch.autograd.grad(following, leaves, cotangent, retain_graph=True)
        return to_states, to_actions

    return following.detach(), vjp


@runtime_checkable
class LiftedModel(Protocol):
    """A world model that can compute GRASP's reshaped gradients in one call, faster than by step and pullback."""

    def lifted_gradients(
        self,
        context: Context,
        states: Float[Tensor, "batch virtual *state"],
        actions: Float[Tensor, "batch time action"],
        goals: Float[Tensor, "batch *state"],
        goal_weight: Float[Tensor, "batch time"],
        feature_weights: Float[Tensor, "*state"],
    ) -> tuple[Float[Tensor, "batch virtual *state"], Float[Tensor, "batch time action"]] | None:
        """The result of `planners.objectives.lifted_gradients` for a `QuadraticCost`; None if this is not faster."""
        ...


@runtime_checkable
class GrowingModel(Protocol):
    """A world model that can also take shorter windows: 1 to h states and as many actions, as at the start of an episode."""

    @property
    def takes_shorter_windows(self) -> bool:
        """Whether it does. A model that wraps others may depend on them."""
        ...


def takes_shorter_windows(model: WorldModel) -> bool:
    """Whether a model's step takes windows of 1 to h states, not of h alone."""
    return model.history == 1 or (isinstance(model, GrowingModel) and model.takes_shorter_windows)


@runtime_checkable
class CarryingModel(Protocol):
    """A world model whose states carry more than goal costs judge: a recurrent model's memory, an ensemble's disagreement."""

    def adapt_goal_cost(self, base: GoalCost) -> GoalCost:
        """A goal cost of this model's states, from one of the part that is judged."""
        ...


def adapted_goal_cost(model: WorldModel, base: GoalCost) -> GoalCost:
    """A goal cost of a model's states from one of the part that is judged, which for most models is all of a state."""
    return model.adapt_goal_cost(base) if isinstance(model, CarryingModel) else base


@runtime_checkable
class StandardisedModel(Protocol):
    """A world model that was trained on standardised actions and knows their statistics; `step` takes ours all the same."""

    def action_statistics(self) -> tuple[Float[Tensor, " axis"], Float[Tensor, " axis"]]:
        """Mean and standard deviation of an environment step's actions in the training data, in our units."""
        ...


@runtime_checkable
class RememberingModel(Protocol):
    """A world model whose states remember more than the last h observations show, such as a recurrent one's."""

    def observed(
        self, states: Float[Tensor, "n h *state"], actions: Float[Tensor, "n h action"], seen: Float[Tensor, "n *state"]
    ) -> Float[Tensor, "n *state"]:
        """The state after a window, given the encoding `seen` of what was observed then."""
        ...


def remembered(
    model: WorldModel, encoded: Float[Tensor, "batch length *state"], actions: Float[Tensor, "batch past action"]
) -> Float[Tensor, "batch length *state"]:
    """The states along a path of encoded observations and the actions between them: those with the model's memory of it.

    For a model that is not a `RememberingModel` they are the encoded ones.
    """
    if not isinstance(model, RememberingModel):
        return encoded
    context = Context.at(model, encoded[:, 0])
    states, past = context.states, context.actions
    found = [encoded[:, 0]]
    for t in range(actions.shape[1]):
        window = torch.cat([past, actions[:, t : t + 1]], 1)
        found.append(model.observed(states, window, encoded[:, t + 1]))
        states, past = torch.cat([states[:, 1:], found[-1].unsqueeze(1)], 1), window[:, 1:]
    return torch.stack(found, 1)


def lifted_step(
    model: WorldModel,
    context: Context,
    states: Float[Tensor, "batch virtual *state"],
    actions: Float[Tensor, "batch time action"],
) -> Float[Tensor, "batch time *state"]:
    """F(s_t, a_t) for t = 0..T-1 in one model call; `states` are the virtual states s_1..s_{T-1} (arXiv 2602.00475).

    Steps at which the window still grows take a call each.
    """
    batch, parts = len(actions), []
    for part in context.along(model, states, actions):
        flat = model.step(part.states.flatten(0, 1), part.actions.flatten(0, 1))
        parts.append(flat.unflatten(0, (batch, part.states.shape[1])))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


Decode = Callable[[Float[Tensor, "n *state"]], Float[Tensor, "n observation"]]
"""Map from model states to state observations, which a task's `pose` reads."""
