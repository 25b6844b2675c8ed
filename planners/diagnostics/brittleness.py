"""Brittleness of a model's state gradients: does a small step along them seem to bring a far-away goal near?

From a state s, descend ||F(s', 0) - g||^2 over s' within a small ball around s. In a sound model a step of 10 % of ||g - s||
removes about 10 % of the distance; if it removes most of it, the step has fooled the model, not approached the goal.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planners.base import ModelProblems
from world_models.base import WorldModel


@dataclass(frozen=True)
class Brittleness:
    """Effect of perturbing each problem's start within a ball, by radius; distances are L2 in the model's state space."""

    radii: tuple[float, ...]
    """Radii as fractions of ||g - s||."""
    removed: Float[Tensor, "radii batch"]
    """Fraction of the predicted distance ||F(s, 0) - g|| that the best s' removes."""
    removed_by_one_step: Float[Tensor, "radii batch"]
    """The same for a single gradient step of the radius's length."""
    states: Float[Tensor, "radii batch *state"]
    """The best s' found."""


def brittleness(model: WorldModel, problems: ModelProblems, radii: tuple[float, ...], steps: int = 60) -> Brittleness:
    """Projected gradient descent on ||F(s', 0) - g||^2 within each radius, from the problems' current states.

    Steps are normalised (their length does not depend on the gradient's) and shrink from the radius to 1 % of it.
    """
    distance = (problems.goal - problems.context.last).flatten(1).norm(dim=1)
    before = _predicted_distance(model, problems, problems.context.last)
    removed, by_one_step, found = [], [], []
    for radius in radii:
        best, least, first = _descend(model, problems, radius * distance, steps)
        removed.append(1 - least / before)
        by_one_step.append(1 - first / before)
        found.append(best)
    return Brittleness(tuple(radii), torch.stack(removed), torch.stack(by_one_step), torch.stack(found))


def _descend(
    model: WorldModel, problems: ModelProblems, radius: Float[Tensor, " batch"], steps: int
) -> tuple[Float[Tensor, "batch *state"], Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """The best state within the radius, its predicted distance to the goal, and the distance after the first step."""
    centre = problems.context.last
    state, best = centre.clone(), centre.clone()
    least = _predicted_distance(model, problems, centre)
    first = least
    for step in range(steps):
        state = state - _scaled(_gradient(model, problems, state), radius * 0.01 ** (step / max(1, steps - 1)))
        moved = state - centre
        length = moved.flatten(1).norm(dim=1)
        state = centre + _scaled(moved, torch.minimum(length, radius))
        predicted = _predicted_distance(model, problems, state)
        first = predicted if step == 0 else first
        better = predicted < least
        least = torch.where(better, predicted, least)
        best = torch.where(_wide(better, best), state, best)
    return best, least, first


def predicted_states(
    model: WorldModel, problems: ModelProblems, states: Float[Tensor, "batch *state"]
) -> Float[Tensor, "batch *state"]:
    """F(s, 0), the model's prediction for a null action in `states`, which replace the newest state of the history."""
    seen = torch.cat([problems.context.states[:, :-1], states.unsqueeze(1)], 1)
    still = states.new_zeros(problems.batch, 1, model.action_dim)
    return model.step(seen, torch.cat([problems.context.actions, still], 1))


def _predicted_distance(
    model: WorldModel, problems: ModelProblems, states: Float[Tensor, "batch *state"]
) -> Float[Tensor, " batch"]:
    with torch.no_grad():
        return (predicted_states(model, problems, states) - problems.goal).flatten(1).norm(dim=1)


def _gradient(
    model: WorldModel, problems: ModelProblems, states: Float[Tensor, "batch *state"]
) -> Float[Tensor, "batch *state"]:
    with torch.enable_grad():
        leaf = states.detach().requires_grad_()
        loss = (predicted_states(model, problems, leaf) - problems.goal).square().sum()
        return torch.autograd.grad(loss, leaf)[0]


def _scaled(vectors: Float[Tensor, "batch *state"], length: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
    """Vectors scaled to a length; zero vectors stay zero."""
    norm = vectors.flatten(1).norm(dim=1).clamp_min(torch.finfo(vectors.dtype).tiny)
    return vectors * _wide(length / norm, vectors)


def _wide(row: Tensor, like: Tensor) -> Tensor:
    """One value per row, reshaped to broadcast against `like`."""
    return row.reshape(-1, *[1] * (like.ndim - 1))
