"""Promises of every goal cost: what planners rely on when they differentiate it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from world_models.base import GoalCost


@dataclass(frozen=True)
class GoalCostCase:
    """A goal cost, and the number of features of the states that it is tried on."""

    cost: GoalCost
    features: int = 4

    def pair(self, rows: int = 5, seed: int = 0) -> tuple[Float[Tensor, "n state"], Float[Tensor, "n state"]]:
        """Random states and goals, float64."""
        generator = torch.Generator().manual_seed(seed)
        states, goals = torch.randn(2, rows, self.features, generator=generator, dtype=torch.float64)
        return states, goals


def costs_are_finite_numbers_per_row(case: GoalCostCase) -> None:
    """A cost is one finite number >= 0 for each state."""
    states, goals = case.pair()
    costs = case.cost(states, goals)
    assert costs.shape == (len(states),), f"costs of {len(states)} states have shape {tuple(costs.shape)}"
    assert bool(torch.isfinite(costs).all()), "a cost is infinite or not a number"
    assert bool((costs >= 0).all()), f"a cost is negative: {costs.min():g}"


def the_goal_costs_nothing(case: GoalCostCase) -> None:
    """A state that is the goal costs nothing, and its gradient is finite."""
    goals = case.pair()[1]
    states = goals.clone().requires_grad_()
    costs = case.cost(states, goals)
    assert bool((costs.abs() < 1e-6).all()), f"the goal itself costs {costs.max():g}"
    if costs.requires_grad:
        (gradient,) = torch.autograd.grad(costs.sum(), states)
        assert bool(torch.isfinite(gradient).all()), "at the goal the gradient is infinite or not a number"


def rows_do_not_influence_each_other(case: GoalCostCase) -> None:
    """The cost of a state is the same alone and in a batch."""
    states, goals = case.pair()
    together = case.cost(states, goals)
    for row in range(len(states)):
        alone = case.cost(states[row : row + 1], goals[row : row + 1])
        assert torch.allclose(alone[0], together[row], rtol=1e-9, atol=1e-12), "a state costs something else in a batch"


def gradients_are_those_of_the_cost(case: GoalCostCase) -> None:
    """Gradients agree with central differences."""
    states, goals = case.pair()
    states = states.requires_grad_()
    (gradient,) = torch.autograd.grad(case.cost(states, goals).sum(), states)
    direction = case.pair(seed=1)[0]
    with torch.no_grad():
        ahead, behind = (case.cost(states + step * direction, goals).sum() for step in (1e-6, -1e-6))
    expected = ((ahead - behind) / 2e-6).item()
    found = (gradient * direction).sum().item()
    assert abs(found - expected) <= 1e-4 * max(1.0, abs(expected)), f"the gradient says {found:g}, differences say {expected:g}"


GOAL_COST_CHECKS: tuple[Callable[[GoalCostCase], None], ...] = (
    costs_are_finite_numbers_per_row,
    the_goal_costs_nothing,
    rows_do_not_influence_each_other,
    gradients_are_those_of_the_cost,
)
"""The single checks."""


def check_goal_cost(cost: GoalCost, features: int = 4) -> None:
    """Check what planners rely on, on states of so many features; AssertionError for the first promise that is broken."""
    for check in GOAL_COST_CHECKS:
        check(GoalCostCase(cost, features))
