"""Goal costs made of a host's costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from planners.base import ModelProblems
from planners.hosts.infos import batch_of, rows_of, with_candidates
from world_models.base import Context, WorldModel
from world_models.errors import require

Score = Callable[[Float[Tensor, "n *state"], Float[Tensor, "n *state"]], Float[Tensor, " n"]]
"""A host's cost of last states against goals, in the host's units."""


@runtime_checkable
class Costable(Protocol):
    """A host's cost of action sequences."""

    def get_cost(self, info_dict: dict, action_candidates: Tensor) -> Tensor:
        """Costs `[batch, candidates]` of candidates `[batch, candidates, time, action]`."""
        ...


@dataclass(frozen=True)
class ObjectiveCost:
    """A host's objective, applied to a last state alone, in units in which a planner's settings are comparable."""

    score: Score
    unit: float = 1.0
    """Cost of a state that is 1 off its goal in every feature, which `SquaredDistance` counts as 1: the hosts sum over
    features where we average, and the weights among a planner's settings refer to averages."""
    offset: float = 0.0
    """Cost of the goal itself, 0 for a distance."""

    def __call__(self, states: Float[Tensor, "n *state"], goals: Float[Tensor, "n *state"]) -> Float[Tensor, " n"]:
        """Costs in our units, `[n]`."""
        return (self.score(states, goals).to(states) - self.offset) / self.unit

    def to_host(self, costs: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Costs in the host's units."""
        return costs * self.unit + self.offset


def in_our_units(score: Score, goal: Float[Tensor, "1 *state"]) -> ObjectiveCost:
    """The goal cost of a host's objective, with its unit measured at a goal.

    Raises UserError for an objective that is not finite there.
    """
    with torch.no_grad():
        offset, away = float(score(goal, goal)), float(score(goal + 1, goal))
    unit = abs(away - offset)
    require(0 < unit < float("inf"), f"the objective is {offset:g} at a goal and {away:g} away from it: it must grow.")
    return ObjectiveCost(score, unit, offset)


@dataclass(frozen=True)
class ActionsSoFar:
    """A world model whose state is the list of actions taken, for hosts that only tell the cost of a whole plan.

    A step drops the first entry and appends the action, so that a state after as many steps as a plan has is the plan.
    """

    steps: int
    action_dim: int
    device: torch.device
    dtype: torch.dtype
    history: int = 1

    @property
    def state_shape(self) -> tuple[int, ...]:
        """`(steps, action_dim)`."""
        return (self.steps, self.action_dim)

    def encode(self, observation: Mapping[str, Any]) -> Float[Tensor, "batch time action"]:
        """Empty lists, which are zeros."""
        return torch.zeros(batch_of(observation), *self.state_shape, device=self.device, dtype=self.dtype)

    def step(
        self, states: Float[Tensor, "n 1 time action"], actions: Float[Tensor, "n 1 action"]
    ) -> Float[Tensor, "n time action"]:
        """Lists with one action more."""
        return torch.cat([states[:, 0, 1:], actions], 1)


@dataclass(frozen=True)
class PlanCost:
    """The cost of whole plans by a host's `get_cost`; the goal of row i is filled with the number i of its environment."""

    cost: Costable
    info: Mapping[str, Any]

    def __call__(self, states: Float[Tensor, "n time action"], goals: Float[Tensor, "n time action"]) -> Float[Tensor, " n"]:
        """Costs of the plans that the states are, one call of the host per environment."""
        numbers = goals[:, 0, 0].long()
        rows = [torch.nonzero(numbers == number).flatten() for number in numbers.unique().tolist()]
        parts = [self._costs(int(numbers[part[0]]), states[part]) for part in rows]
        return torch.cat(parts)[torch.cat(rows).argsort()]

    def to_host(self, costs: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """The same costs, which are in the host's units."""
        return costs

    def _costs(self, number: int, plans: Float[Tensor, "n time action"]) -> Float[Tensor, " n"]:
        info = with_candidates(rows_of(self.info, slice(number, number + 1)), len(plans))
        return self.cost.get_cost(info, plans.unsqueeze(0))[0].to(plans)


def plan_cost_problems(
    cost: Costable, info: Mapping[str, Any], model: ActionsSoFar, low: Tensor, high: Tensor
) -> tuple[WorldModel, ModelProblems, PlanCost]:
    """Problems in which only the cost of a whole plan is known."""
    states = model.encode(info)
    numbers = torch.arange(len(states), device=model.device, dtype=model.dtype)
    goals = numbers.view(-1, 1, 1).expand_as(states).contiguous()
    goal_cost = PlanCost(cost, info)
    return model, ModelProblems(Context.at(model, states), goals, model.steps, low, high, goal_cost), goal_cost
