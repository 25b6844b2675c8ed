"""Gradients by time step, and points at which to measure them: the iterates that shooting and GRASP pass through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planners.base import ModelProblems
from planners.objectives import final_cost_gradient, lifted_gradients
from planners.search.initialisers import interpolated_states, null_actions
from planners.updates.optimizers import Adam
from world_models.base import WorldModel

FLOOR = 1e-12
"""Gradients smaller than this fraction of the row's largest count as this fraction, so that logarithms are finite."""


@dataclass(frozen=True)
class LiftedPhase:
    """Settings of GRASP between two syncs, in normalised units."""

    lr_states: float = 0.1
    lr_actions: float = 0.01
    noise: float = 0.05
    """Standard deviation of the noise on the virtual states after each update."""
    goal_weight: float = 0.02
    """Weight of the dense goal term; the last step, whose target is the goal, has 1 more."""

    def weights(self, problems: ModelProblems) -> Float[Tensor, "batch time"]:
        """The goal weight of each time step."""
        weights = problems.goal.new_full((problems.batch, problems.steps), self.goal_weight)
        weights[:, -1] += 1
        return weights


def shooting_iterate(
    model: WorldModel, problems: ModelProblems, iterations: int, lr: float
) -> Float[Tensor, "batch time action"]:
    """Actions after some Adam steps of gradient descent through the rollout, from null actions, within bounds."""
    actions = null_actions(problems, model.action_dim)
    optimizer = Adam(actions, lr)
    for _ in range(iterations):
        optimizer.update(actions, final_cost_gradient(model, problems, actions)[1])
        actions.clamp_(problems.low, problems.high)
    return actions


def lifted_iterate(
    model: WorldModel, problems: ModelProblems, seeds: Sequence[int], iterations: int, phase: LiftedPhase
) -> tuple[Float[Tensor, "batch virtual *state"], Float[Tensor, "batch time action"]]:
    """Virtual states and actions after some of GRASP's updates with noise, before any sync; one noise seed per row."""
    actions, states = null_actions(problems, model.action_dim), interpolated_states(problems)
    state_optimizer, action_optimizer = Adam(states, phase.lr_states), Adam(actions, phase.lr_actions)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    weights = phase.weights(problems)
    for _ in range(iterations):
        to_states, to_actions = lifted_gradients(model, problems, states, actions, weights)
        state_optimizer.update(states, to_states)
        action_optimizer.update(actions, to_actions)
        actions.clamp_(problems.low, problems.high)
        noise = torch.stack([torch.randn(states.shape[1:], generator=generator) for generator in generators])
        states.add_(noise.to(states), alpha=phase.noise)
    return states, actions


def shooting_gradient_norms(
    model: WorldModel, problems: ModelProblems, actions: Float[Tensor, "batch time action"]
) -> Float[Tensor, "batch time"]:
    """Norm of the shooting gradient with respect to each time step's action."""
    return final_cost_gradient(model, problems, actions)[1].norm(dim=2)


def lifted_gradient_norms(
    model: WorldModel,
    problems: ModelProblems,
    states: Float[Tensor, "batch virtual *state"],
    actions: Float[Tensor, "batch time action"],
    goal_weight: Float[Tensor, "batch time"],
) -> Float[Tensor, "batch time"]:
    """Norm of GRASP's reshaped gradient with respect to each time step's action."""
    return lifted_gradients(model, problems, states, actions, goal_weight)[1].norm(dim=2)


def normalised(norms: Float[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
    """Each row divided by its largest norm, and at least `FLOOR`; 1 throughout where all gradients are zero."""
    largest = norms.amax(1, keepdim=True)
    return torch.where(largest > 0, norms / largest, 1.0).clamp_min(FLOOR)


def early_over_late(norms: Float[Tensor, "batch time"], share: float = 0.1) -> Float[Tensor, " batch"]:
    """log10 of the ratio between the gradients' root mean square over the first `share` of the time steps and over the last.

    Below 0 gradients vanish towards early actions, above 0 they explode; -1 is a tenth.
    """
    squares = normalised(norms).square()
    count = max(1, math.ceil(share * norms.shape[1]))
    return 0.5 * (squares[:, :count].mean(1).log10() - squares[:, -count:].mean(1).log10())
