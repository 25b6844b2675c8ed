"""Objectives that planners minimise, with gradients only where they are meant to flow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from planners.base import ModelProblems
from world_models.base import (
    Context,
    LiftedModel,
    QuadraticCost,
    WorldModel,
    lifted_step,
    rollout,
    step_pullback,
)
from world_models.time_windows import Windows

_ROWS_PER_CALL = {"cpu": 2048}
_ROWS_PER_CALL_ACCELERATOR = 1 << 16
_NUMBERS_PER_CALL = {"cpu": 1 << 22}
_NUMBERS_PER_CALL_ACCELERATOR = 1 << 26
"""Numbers in the windows of states of one call; a network's activations take about a hundred times as many."""


def rows_per_call(model: WorldModel, device: torch.device) -> int:
    """Number of windows of states in one model call, which keeps caches warm and memory bounded."""
    return min(_ROWS_PER_CALL.get(device.type, _ROWS_PER_CALL_ACCELERATOR), _rows_in_memory(model, device))


def _rows_in_memory(model: WorldModel, device: torch.device) -> int:
    """Number of windows of states that an autograd graph may hold."""
    numbers = _NUMBERS_PER_CALL.get(device.type, _NUMBERS_PER_CALL_ACCELERATOR)
    return max(1, numbers // (model.history * math.prod(model.state_shape)))


def final_cost(
    model: WorldModel, problems: ModelProblems, actions: Float[Tensor, "batch time action"]
) -> Float[Tensor, " batch"]:
    """Goal cost of the last state of the rollout of `actions`, without gradients."""
    with torch.no_grad():
        return problems.goal_cost(rollout(model, problems.context, actions)[:, -1], problems.goal)


def final_cost_gradient(
    model: WorldModel, problems: ModelProblems, actions: Float[Tensor, "batch time action"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch time action"]]:
    """Rolled-out final goal cost of each row and its gradient with respect to the actions, through the whole rollout
    (shooting).

    Problems are rolled out in blocks that keep the memory of the graph bounded.
    """
    parts = []
    for rows in _cut(problems, _rows_in_memory(model, actions.device)):
        with torch.enable_grad():
            leaf = actions[rows].detach().requires_grad_()
            part = problems if leaf.shape[0] == problems.batch else problems.rows(rows)
            cost = part.goal_cost(rollout(model, part.context, leaf)[:, -1], part.goal)
            parts.append((cost.detach(), torch.autograd.grad(cost.sum(), leaf)[0]))
    if len(parts) == 1:
        return parts[0]
    return torch.cat([cost for cost, _ in parts]), torch.cat([gradient for _, gradient in parts])


def sampled_costs(
    model: WorldModel, problems: ModelProblems, actions: Float[Tensor, "batch samples time action"]
) -> Float[Tensor, "batch samples"]:
    """Rolled-out final goal costs of many plans per problem, a bounded number of rows at a time."""
    batch, samples = actions.shape[:2]
    limit = rows_per_call(model, actions.device)
    result = []
    for rows in torch.arange(batch * samples, device=actions.device).split(limit):
        problem = rows // samples
        context = Context(problems.context.states[problem], problems.context.actions[problem])
        final = rollout(model, context, actions.flatten(0, 1)[rows])[:, -1]
        result.append(problems.goal_cost(final, problems.goal[problem]))
    return torch.cat(result).view(batch, samples)


def blocks(model: WorldModel, problems: ModelProblems, device: torch.device) -> list[slice]:
    """Blocks of problems that share a model call over all their times, sized to keep the call's memory bounded."""
    return _cut(problems, rows_per_call(model, device))


def _cut(problems: ModelProblems, windows: int) -> list[slice]:
    size = max(1, windows // problems.steps)
    return [slice(first, first + size) for first in range(0, problems.batch, size)]


def lifted_gradients(
    model: WorldModel,
    problems: ModelProblems,
    states: Float[Tensor, "batch virtual *state"],
    actions: Float[Tensor, "batch time action"],
    goal_weight: Float[Tensor, "batch time"],
) -> tuple[Float[Tensor, "batch virtual *state"], Float[Tensor, "batch time action"]]:
    """GRASP's reshaped gradients with respect to the virtual states s_1..s_{T-1} and the actions (arXiv 2602.00475).

    The loss of a row is sum_{t<T-1} mean((F(sg(s_t), a_t) - s_{t+1})^2) + sum_t goal_weight_t * goal_cost(F(sg(s_t), a_t), g);
    sg stops the gradient. `goal_weight` at T - 1 includes the last step's target term, whose target is the goal. No gradient
    flows through the state input of F, so only the action path needs the model's derivative: the states' gradient comes from
    the targets alone, in closed form.

    All times of a problem go through the model in one call, in blocks of problems that keep the call's memory bounded; the
    first few of a context that still grows take a call each.
    """
    if isinstance(model, LiftedModel) and isinstance(problems.goal_cost, QuadraticCost):
        weights = problems.goal_cost.feature_weights(problems.goal)
        gradients = model.lifted_gradients(problems.context, states, actions, problems.goal, goal_weight, weights)
        if gradients is not None:
            return gradients
    together = blocks(model, problems, actions.device)
    if len(together) == 1:
        return _lifted_block(model, problems, states, actions, goal_weight)
    parts = [_lifted_block(model, problems.rows(rows), states[rows], actions[rows], goal_weight[rows]) for rows in together]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _lifted_block(
    model: WorldModel,
    problems: ModelProblems,
    states: Float[Tensor, "batch virtual *state"],
    actions: Float[Tensor, "batch time action"],
    goal_weight: Float[Tensor, "batch time"],
) -> tuple[Float[Tensor, "batch virtual *state"], Float[Tensor, "batch time action"]]:
    parts = problems.context.along(model, states, actions)
    steps = [step_pullback(model, part.states.flatten(0, 1), part.actions.flatten(0, 1)) for part in parts]
    # Views, not unflatten, which is Python code: code between two model calls runs with cold caches.
    found = [flat.view(*part.actions.shape[:2], *flat.shape[1:]) for part, (flat, _) in zip(parts, steps, strict=True)]
    predicted = found[0] if len(found) == 1 else torch.cat(found, 1)
    to_states = torch.sub(states, predicted[:, :-1]).mul_(2 / problems.goal[0].numel())
    weight = goal_weight.view(*goal_weight.shape, *[1] * (states.ndim - 2))
    cotangent = _goal_gradient(problems, predicted).mul_(weight)
    cotangent[:, :-1].sub_(to_states)
    by_window = [pullback(cotangent[:, part.times].flatten(0, 1)) for part, (_, pullback) in zip(parts, steps, strict=True)]
    return to_states, _fold(parts, [each.view(part.actions.shape) for part, each in zip(parts, by_window, strict=True)])


def _goal_gradient(problems: ModelProblems, states: Float[Tensor, "batch time *state"]) -> Float[Tensor, "batch time *state"]:
    """Gradient of each state's goal cost, in closed form where the cost has one."""
    goals = problems.goal.unsqueeze(1)
    if isinstance(problems.goal_cost, QuadraticCost):
        weights = problems.goal_cost.feature_weights(problems.goal)
        return (states - goals).mul_(weights * (2 / weights.numel()))
    with torch.enable_grad():
        leaf = states.detach().flatten(0, 1).requires_grad_()
        costs = problems.goal_cost(leaf, goals.expand_as(states).flatten(0, 1))
        return torch.autograd.grad(costs.sum(), leaf)[0].view_as(states)


def _fold(
    parts: Sequence[Windows], by_window: Sequence[Float[Tensor, "batch _ _ action"]]
) -> Float[Tensor, "batch time action"]:
    """Gradients of actions from gradients of windows: an action is in several of them; those before the first are fixed."""
    newest = [each[:, :, -1] for each in by_window]
    if parts[-1].seen == 1:
        return newest[0]
    gradient = torch.cat(newest, 1)
    for part, each in zip(parts, by_window, strict=True):
        for back in range(1, min(part.seen, part.times.stop)):
            before = max(0, back - part.first)
            gradient[:, part.first + before - back : part.times.stop - back] += each[:, before:, part.seen - 1 - back]
    return gradient


def lifted_loss(
    model: WorldModel,
    problems: ModelProblems,
    states: Float[Tensor, "batch virtual *state"],
    actions: Float[Tensor, "batch time action"],
    goal_weight: Float[Tensor, "batch time"],
    dynamics_weight: Float[Tensor, "batch virtual"] | None = None,
) -> Float[Tensor, " batch"]:
    """The loss of `lifted_gradients` with nothing detached, for lifted planners without the reshaped gradient."""
    predicted = lifted_step(model, problems.context, states, actions)
    return target_loss(problems, predicted, states, goal_weight, dynamics_weight)


def target_loss(
    problems: ModelProblems,
    predicted: Float[Tensor, "batch time *state"],
    states: Float[Tensor, "batch virtual *state"],
    goal_weight: Float[Tensor, "batch time"],
    dynamics_weight: Float[Tensor, "batch virtual"] | None = None,
) -> Float[Tensor, " batch"]:
    """Loss between predictions F(s_t, a_t) and the virtual states that they should reach, plus their weighted goal costs.

    `dynamics_weight` weighs the violations at s_1..s_{T-1}; None: all weights are 1.
    """
    goals = problems.goal.repeat_interleave(problems.steps, 0)
    costs = problems.goal_cost(predicted.flatten(0, 1), goals).unflatten(0, (problems.batch, problems.steps))
    misses = dynamics_misses(predicted, states)
    if dynamics_weight is not None:
        misses = misses * dynamics_weight
    return misses.sum(1) + (goal_weight * costs).sum(1)


def dynamics_misses(
    predicted: Float[Tensor, "batch time *state"], states: Float[Tensor, "batch virtual *state"]
) -> Float[Tensor, "batch virtual"]:
    """Mean squared difference, over features, between each virtual state and the prediction that should reach it."""
    return (predicted[:, :-1] - states).square().flatten(2).mean(2)


def full_lifted_gradients(
    model: WorldModel,
    problems: ModelProblems,
    states: Float[Tensor, "batch virtual *state"],
    actions: Float[Tensor, "batch time action"],
    goal_weight: Float[Tensor, "batch time"],
    dynamics_weight: Float[Tensor, "batch virtual"] | None = None,
) -> tuple[Float[Tensor, "batch virtual *state"], Float[Tensor, "batch time action"]]:
    """Gradients of `lifted_loss` with respect to virtual states and actions, for LatCo and GRASP's ablation "no detach".

    Unlike in `lifted_gradients`, gradients also flow through the state input of the model. Problems go through it in blocks
    that keep memory bounded.
    """
    parts = []
    for rows in blocks(model, problems, actions.device):
        with torch.enable_grad():
            leaves = states[rows].detach().requires_grad_(), actions[rows].detach().requires_grad_()
            weight = None if dynamics_weight is None else dynamics_weight[rows]
            loss = lifted_loss(model, problems.rows(rows), *leaves, goal_weight[rows], weight)
            parts.append(torch.autograd.grad(loss.sum(), leaves))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
