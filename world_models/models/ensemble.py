"""Ensembles: K models of one state space that act as one model, with their disagreement as part of the state.

Where data are scarce, models trained from different seeds make different predictions. A planner that pays for such disagreement
stays where the model can be trusted. Goal costs see only a plan's last state, so the state carries the disagreement of the path
that led to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import Function

from world_models.base import (
    Context,
    Decode,
    GoalCost,
    Pullback,
    QuadraticCost,
    Vjp,
    WorldModel,
    adapted_goal_cost,
    serial_rollout,
    step_pullback,
    step_vjp,
    takes_shorter_windows,
)
from world_models.errors import require
from world_models.precision import Arithmetic, arithmetic_of

EPSILON = 1e-3
"""Disagreement that a step adds even if the members agree, in one-step changes: it keeps the square root smooth."""


class Ensemble(nn.Module):
    """A `WorldModel` of K members that share one state space: a state is a member's flattened state and the disagreement u.

    A step goes to the mean m of the members' predictions p_k; u_{t+1}^2 = u_t^2 + mean_ik ((p_ki - m_i) / c_i)^2 + EPSILON^2
    over features i, where c is the standard deviation of one step's change. So u is the root of the summed squared disagreement
    along a path, in one-step changes; it is 0 at the path's start. (Disagreement of bootstrapped or reseeded models as a
    measure of their uncertainty: Lakshminarayanan et al. 2017, arXiv 1612.01474; Chua et al. 2018, arXiv 1805.12114.)

    `members` are modules that are world models; the first one encodes. Raises UserError for fewer than two members, members
    with different shapes, or a change scale that does not fit or is not positive.
    """

    def __init__(self, members: Sequence[nn.Module], change_scale: Float[Tensor, " features"]) -> None:
        super().__init__()
        require(len(members) >= 2, f"an ensemble of {len(members)} members can't disagree: give 2 or more.")
        self.members = nn.ModuleList(members)
        kinds = {(model.state_shape, model.action_dim, model.history) for model in self.models}
        require(
            len(kinds) == 1,
            f"the members of an ensemble must share (state shape, action size, history), and these have {sorted(kinds)}: "
            "train them with the same sizes.",
        )
        features = torch.Size(self.member_shape).numel()
        sound = len(change_scale) == features and bool((change_scale > 0).all()) and bool(torch.isfinite(change_scale).all())
        require(
            sound,
            f"the change scale {change_scale.tolist()} must be {features} finite numbers > 0: give one per state feature.",
        )
        self.register_buffer("change_scale", change_scale.detach().clone())

    change_scale: Tensor
    """Standard deviation of one step's change of each feature, in state units."""

    @property
    def models(self) -> tuple[WorldModel, ...]:
        """The members as world models."""
        return tuple(self.members)  # pyright: ignore[reportReturnType]

    @property
    def member_shape(self) -> tuple[int, ...]:
        """Shape of a member's state."""
        return self.models[0].state_shape

    @property
    def state_shape(self) -> tuple[int, ...]:
        """`(features + 1,)`: a member's flattened state and the disagreement."""
        return (torch.Size(self.member_shape).numel() + 1,)

    @property
    def action_dim(self) -> int:
        """Size of one model step's action."""
        return self.models[0].action_dim

    @property
    def history(self) -> int:
        """Number of states and actions that a member's step sees."""
        return self.models[0].history

    @property
    def takes_shorter_windows(self) -> bool:
        """Whether all members do."""
        return all(takes_shorter_windows(model) for model in self.models)

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.change_scale.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of states and actions."""
        return self.change_scale.dtype

    def arithmetic(self) -> Arithmetic:
        """That of the members, which are of one kind."""
        return arithmetic_of(self.models[0], self.device, self.dtype)

    def encode(self, observation: Any) -> Float[Tensor, "batch features"]:
        """The first member's states, with no disagreement."""
        state = self.models[0].encode(observation).flatten(1)
        return torch.cat([state, state.new_zeros(len(state), 1)], 1)

    def member_states(self, states: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch *state"]:
        """Members' states from the ensemble's: all features but the disagreement, in a member's shape."""
        return states[..., :-1].unflatten(-1, self.member_shape)

    def step(self, states: Float[Tensor, "n h features"], actions: Float[Tensor, "n h action"]) -> Float[Tensor, "n features"]:
        """The mean of the members' next states, and the disagreement along the path so far."""
        seen = self.member_states(states)
        predictions = torch.stack([model.step(seen, actions).flatten(1) for model in self.models])
        return _combine(predictions, states[:, -1, -1], self.change_scale).states

    def adapt_goal_cost(self, base: GoalCost) -> EnsembleCost:
        """A goal cost of members' states as one of the ensemble's."""
        return ensemble_cost(adapted_goal_cost(self.models[0], base), self.member_shape)

    def step_pullback(
        self, states: Float[Tensor, "n h features"], actions: Float[Tensor, "n h action"]
    ) -> tuple[Float[Tensor, "n features"], Pullback]:
        """The next states and their derivative with respect to the actions, by the members' own pullbacks."""
        seen = self.member_states(states.detach())
        steps = [step_pullback(model, seen, actions) for model in self.models]
        with torch.enable_grad():
            leaf = torch.stack([following.flatten(1) for following, _ in steps]).detach().requires_grad_()
            combined = _combine(leaf, states[:, -1, -1].detach(), self.change_scale).states

        def pullback(cotangent: Float[Tensor, "n features"]) -> Float[Tensor, "n h action"]:
            (to_members,) = torch.autograd.grad(combined, leaf, cotangent)
            shares = zip(steps, to_members, strict=True)
            return torch.stack([back(share.unflatten(1, self.member_shape)) for (_, back), share in shares]).sum(0)

        return combined.detach(), pullback

    def rollout(self, context: Context, actions: Float[Tensor, "batch time action"]) -> Float[Tensor, "batch time features"]:
        """States s_1..s_T; with frozen weights and a history of 1, all steps are one autograd node."""
        if self.history > 1 or any(weight.requires_grad for weight in self.parameters()):
            return serial_rollout(self, context, actions)
        return _Rollout.apply(context.last, actions, self)  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class _Combined:
    """The next state of an ensemble, and the tensors that its derivative reads."""

    states: Float[Tensor, "n more"]
    deviation: Float[Tensor, "k n features"]
    """Deviation of each member's prediction from the mean, in one-step changes."""
    disagreement: Float[Tensor, " n"]


def _combine(
    predictions: Float[Tensor, "k n features"], before: Float[Tensor, " n"], change_scale: Float[Tensor, " features"]
) -> _Combined:
    """The ensemble's next state from its members' predictions and the disagreement before."""
    mean = predictions.mean(0)
    deviation = (predictions - mean) / change_scale
    disagreement = (before.square() + deviation.square().mean((0, 2)) + EPSILON**2).sqrt()
    return _Combined(torch.cat([mean, disagreement.unsqueeze(1)], 1), deviation, disagreement)


@dataclass(frozen=True)
class _Step:
    """Values that a step's backward pass reads."""

    members: list[Vjp]
    combined: _Combined
    before: Float[Tensor, " n"]


class _Rollout(Function):
    """States s_1..s_T of an ensemble of history 1 as one autograd node, differentiable once."""

    @staticmethod
    def forward(ctx: Any, start: Tensor, actions: Tensor, model: Ensemble) -> Tensor:
        """States s_1..s_T; values for the backward pass are kept only if one may follow."""
        states: list[Tensor] = []
        ctx.kept, ctx.model = [], model
        keep = any(ctx.needs_input_grad)
        state = start
        for action in actions.split(1, 1):
            seen = model.member_states(state.unsqueeze(1))
            steps = [step_vjp(member, seen, action) for member in model.models]
            combined = _combine(torch.stack([following.flatten(1) for following, _ in steps]), state[:, -1], model.change_scale)
            if keep:
                ctx.kept.append(_Step([vjp for _, vjp in steps], combined, state[:, -1]))
            state = combined.states
            states.append(state)
        return torch.stack(states, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *cotangents: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Cotangents of the start and the actions, backwards through time."""
        scale, shape = ctx.model.change_scale, ctx.model.member_shape
        carry = torch.zeros_like(cotangents[0][:, 0])
        to_actions = []
        for cotangent, step in zip(reversed(cotangents[0].unbind(1)), reversed(ctx.kept), strict=True):
            carry = carry + cotangent
            # u' = sqrt(u^2 + v + e^2): du'/du = u / u' and du'/dv = 1 / (2 u'); the mean's share of dv cancels.
            steepness = carry[:, -1] / step.combined.disagreement
            spread = steepness.unsqueeze(1) * step.combined.deviation / (scale * scale.numel())
            shares = (carry[:, :-1] + spread) / len(step.members)
            backs = [vjp(share.unflatten(1, shape)) for vjp, share in zip(step.members, shares, strict=True)]
            to_actions.append(torch.stack([back[1] for back in backs]).sum(0))
            to_states = torch.stack([back[0].flatten(1) for back in backs]).sum(0)
            carry = torch.cat([to_states, (steepness * step.before).unsqueeze(1)], 1)
        return carry, torch.cat(to_actions[::-1], 1), None


class EnsembleCost(nn.Module):
    """A member's goal cost applied to an ensemble's states, plus a price on the disagreement: base + disagreement * u^2.

    Raises UserError for a price that is negative or not finite.
    """

    def __init__(self, base: GoalCost, member_shape: tuple[int, ...], disagreement: float = 0.0) -> None:
        super().__init__()
        check_price(disagreement)
        self.base = base
        self.member_shape = member_shape
        self.disagreement = disagreement

    def forward(self, states: Float[Tensor, "n features"], goals: Float[Tensor, "n features"]) -> Float[Tensor, " n"]:
        """Cost of each state against its goal, `[n]`; a goal's disagreement is 0."""
        own, wanted = (s[:, :-1].unflatten(1, self.member_shape) for s in (states, goals))
        return self.base(own, wanted) + self.disagreement * (states[:, -1] - goals[:, -1]).square()


class QuadraticEnsembleCost(EnsembleCost):
    """An `EnsembleCost` whose base is a `QuadraticCost`, which makes it one as well."""

    def feature_weights(self, goals: Float[Tensor, "batch features"]) -> Float[Tensor, " features"]:
        """The base's weights and the price, rescaled for a mean over one more feature."""
        assert isinstance(self.base, QuadraticCost)
        own = self.base.feature_weights(goals[:, :-1].unflatten(1, self.member_shape)).flatten()
        count = len(own)
        return torch.cat([own * ((count + 1) / count), own.new_full((1,), self.disagreement * (count + 1))])


def ensemble_cost(base: GoalCost, member_shape: tuple[int, ...], disagreement: float = 0.0) -> EnsembleCost:
    """The goal cost of an ensemble from that of its members; quadratic if that is."""
    kind = QuadraticEnsembleCost if isinstance(base, QuadraticCost) else EnsembleCost
    return kind(base, member_shape, disagreement)


def priced(goal_cost: GoalCost, disagreement: float) -> EnsembleCost:
    """An ensemble's goal cost with another price of disagreement; raises TypeError for any other goal cost."""
    if not isinstance(goal_cost, EnsembleCost):
        raise TypeError(f"{type(goal_cost).__name__} is not the goal cost of an ensemble.")
    return ensemble_cost(goal_cost.base, goal_cost.member_shape, disagreement)


def check_price(disagreement: float) -> None:
    """Raise UserError for a price of disagreement that is negative or not finite."""
    sentence = f"disagreement {disagreement!r} is not a valid price: give a number >= 0, such as 0.1."
    require(0 <= disagreement < float("inf"), sentence)


class EnsembleDecode(nn.Module):
    """A member's `decode`, applied to an ensemble's states."""

    def __init__(self, base: Decode, member_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.base = base
        self.member_shape = member_shape

    def forward(self, states: Float[Tensor, "n features"]) -> Float[Tensor, "n observation"]:
        """Observations decoded from states."""
        return self.base(states[:, :-1].unflatten(1, self.member_shape))
