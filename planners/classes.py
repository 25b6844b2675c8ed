"""Actions that are classes: how they are relaxed, rounded and drawn.

An environment step's action has one value per class: the upper bound for the class that is taken, the lower bound for all
others. Relaxed, it is a point between these corners, that is, a share per class: the simplex and not the whole box, because a
model has seen the corners only, and what it says between them is an interpolation, but elsewhere in the box an extrapolation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from planners.base import ModelProblems, Plans
from planners.settings import Number, per_row
from world_models.base import WorldModel, rollout

LEAST_UNIFORM = 0.02
"""Share of classes that are drawn uniformly at least: a class that no elite has taken may still be drawn."""
_TIE = 1e-6
"""Differences below this are ties when relaxed actions are rounded: the last bit of a number decides nothing."""


@dataclass(frozen=True)
class Classes:
    """The classes of a batch's actions. A model step's action is a group of `count` values for each environment step."""

    count: int
    low: Float[Tensor, ""]
    high: Float[Tensor, ""]

    @staticmethod
    def of(problems: ModelProblems) -> Classes | None:
        """The classes of some problems; None if their actions are a box."""
        return None if problems.classes is None else Classes(problems.classes, problems.low[0], problems.high[0])

    def project(self, actions: Float[Tensor, "*batch action"]) -> None:
        """Move actions to the nearest relaxed ones, in place (Held, Wolfe and Crowder 1974)."""
        shares = self._shares(actions)
        ranked = shares.sort(-1, descending=True).values
        rank = torch.arange(1, self.count + 1, device=actions.device, dtype=actions.dtype)
        surplus = (ranked.cumsum(-1) - 1) / rank
        positive = (ranked > surplus).sum(-1, keepdim=True).clamp_min(1)
        shares = (shares - surplus.gather(-1, positive - 1)).clamp_min(0)
        actions.copy_(torch.lerp(self.low, self.high, shares.flatten(-2)))

    def rounded(self, actions: Float[Tensor, "*batch time action"]) -> Float[Tensor, "*batch time action"]:
        """Classes whose counts up to any time are near the summed shares; NaN for plans that are not finite.

        Rounding each step on its own would turn shares of 0.6 and 0.4 into one class throughout. This is sum-up rounding
        (Sager, Bock and Diehl 2012), whose effect on a state stays near one step's, and which leaves classes as they are.
        """
        shares = self._shares(actions).flatten(-3, -2)
        first = _TIE * torch.arange(self.count, device=actions.device, dtype=actions.dtype)
        owed, taken = torch.zeros_like(shares[..., 0, :]) - first, []
        for share in shares.unbind(-2):
            owed = owed + share
            taken.append(owed.argmax(-1, keepdim=True))
            owed = owed.scatter_add(-1, taken[-1], -torch.ones_like(owed[..., :1]))
        sound = torch.isfinite(actions).flatten(-2).all(-1)[..., None, None]
        return torch.where(sound, self._taking(torch.stack(taken, -2), actions), torch.nan)

    def likeliest(self, actions: Float[Tensor, "*batch time action"]) -> Float[Tensor, "*batch time action"]:
        """The most probable class of each step, the first of equal ones."""
        return self._taking(self._grouped(actions).argmax(-1, keepdim=True), actions)

    def softened(self, actions: Float[Tensor, "batch time action"], std: Number) -> Float[Tensor, "batch time action"]:
        """Relaxed actions around some, the softer the larger `std`: a class gets e^(2 / std) times the share of another."""
        values = (2 * self._shares(actions) - 1) / per_row(std, self._shares(actions))
        return torch.lerp(self.low, self.high, values.softmax(-1).flatten(-2))

    def drawn(
        self,
        mean: Float[Tensor, "batch time action"],
        noise: Float[Tensor, "batch samples time action"],
        uniform: Number,
    ) -> Float[Tensor, "batch samples time action"]:
        """Plans of classes drawn by the shares of `mean`, of which `uniform`, at least `LEAST_UNIFORM`, are spread over all.

        The largest of log share + Gumbel noise is a draw by the shares, and Gumbel noise is normal noise with its quantiles
        moved. Where `noise` is coloured over time, each step still draws by its own shares, but classes stick for a while.
        """
        shares = self._shares(mean)
        spread = torch.as_tensor(per_row(uniform, shares)).to(shares).clamp(LEAST_UNIFORM, 1.0)
        shares = (1 - spread) * shares + spread / self.count
        gumbel = self._grouped(-(-torch.special.log_ndtr(noise)).log())
        return self._taking((shares.log().unsqueeze(1) + gumbel).argmax(-1, keepdim=True), noise)

    def tangent(self, gradient: Float[Tensor, "*batch action"]) -> Float[Tensor, "*batch action"]:
        """The part of gradients along the simplex, on which the shares of a step sum to 1."""
        grouped = self._grouped(gradient)
        return (grouped - grouped.mean(-1, keepdim=True)).flatten(-2)

    def _grouped(self, values: Float[Tensor, "*batch action"]) -> Float[Tensor, "*batch group class"]:
        return values.unflatten(-1, (-1, self.count))

    def _shares(self, actions: Float[Tensor, "*batch action"]) -> Float[Tensor, "*batch group class"]:
        return self._grouped((actions - self.low) / (self.high - self.low))

    def _taking(self, taken: Int[Tensor, "*batch 1"], like: Float[Tensor, "*rows action"]) -> Float[Tensor, "*rows action"]:
        """Actions, shaped like some, that take the classes of these indices."""
        index = torch.arange(self.count, device=like.device)
        return torch.where(index == taken, self.high, self.low).reshape(like.shape)


def executable(model: WorldModel, problems: ModelProblems, plans: Plans) -> Plans:
    """Plans as they are executed: where actions are classes and a planner returned others, rounded, with their own rollout."""
    classes = Classes.of(problems)
    if classes is None:
        return plans
    actions = classes.rounded(plans.actions)
    if torch.equal(actions, plans.actions):
        return plans
    with torch.no_grad():
        states = rollout(model, problems.context, actions)
        cost = problems.goal_cost(states[:, -1], problems.goal)
    return replace(plans, actions=actions, states=states, cost=cost)


def null_actions(problems: ModelProblems) -> Float[Tensor, "batch time action"]:
    """Actions nearest zero, or the first class."""
    zero = problems.context.actions.new_zeros(problems.batch, problems.steps, problems.low.shape[0])
    nearest = zero.clamp(problems.low, problems.high)
    classes = Classes.of(problems)
    return nearest if classes is None else classes.likeliest(nearest)
