"""Condition numbers of planning objectives, from dense Gauss-Newton matrices: for models with few state features.

Jacobians are built row by row, by one backward pass per state feature, whatever the number of time steps.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from planners.base import ModelProblems
from world_models.base import GoalCost, WorldModel, rollout


def shooting_condition(
    model: WorldModel, problems: ModelProblems, actions: Float[Tensor, "batch time action"]
) -> Float[Tensor, " batch"]:
    """Condition number of the shooting objective's Gauss-Newton matrix, over its nonzero eigenvalues.

    The matrix has at most as many nonzero eigenvalues as the goal has features, or as there are actions, whichever is less.
    """
    with torch.enable_grad():
        leaf = actions.detach().requires_grad_()
        final = rollout(model, problems.context, leaf)[:, -1].flatten(1)
        jacobian = torch.stack(_rows(final, [leaf])[0], 1).flatten(2)
    root = _square_root(_goal_hessian(problems.goal_cost, final.detach().unflatten(1, problems.goal.shape[1:]), problems.goal))
    reduced = root @ jacobian
    values = torch.linalg.eigvalsh(reduced @ reduced.mT)
    return _ratio(values, min(_rank(root), actions[0].numel()))


def lifted_condition(
    model: WorldModel,
    problems: ModelProblems,
    states: Float[Tensor, "batch virtual *state"],
    actions: Float[Tensor, "batch time action"],
    goal_weight: Float[Tensor, "batch time"],
) -> Float[Tensor, " batch"]:
    """Condition number of the lifted objective's Gauss-Newton matrix, over as many eigenvalues as it has residuals."""
    time, features = problems.steps, problems.goal[0].numel()
    predicted, jacobian = _predictions_jacobian(model, problems, states, actions)
    residual = jacobian[:, :-1].clone()
    state_columns = torch.arange((time - 1) * features, device=actions.device)
    residual.flatten(1, 2)[:, state_columns, actions[0].numel() + state_columns] -= 1
    goals = problems.goal.repeat_interleave(time, 0)
    root = _square_root(_goal_hessian(problems.goal_cost, predicted.flatten(0, 1), goals)).unflatten(0, (-1, time))
    toward_goal = goal_weight.sqrt()[..., None, None] * (root @ jacobian)
    rows = torch.cat([residual.flatten(1, 2) * (2 / features) ** 0.5, toward_goal.flatten(1, 2)], 1)
    values = torch.linalg.eigvalsh(rows.mT @ rows)
    weighed = int((goal_weight > 0).sum(1).min())
    return _ratio(values, min((time - 1) * features + weighed * _rank(root.flatten(0, 1)), rows.shape[2]))


def _predictions_jacobian(
    model: WorldModel,
    problems: ModelProblems,
    states: Float[Tensor, "batch virtual *state"],
    actions: Float[Tensor, "batch time action"],
) -> tuple[Float[Tensor, "batch time *state"], Float[Tensor, "batch time features variables"]]:
    """F(s_t, a_t) for all t, and its derivatives with respect to actions, then virtual states, as in `flat_variables`."""
    batch, time, h = problems.batch, problems.steps, model.history
    size, features = model.action_dim, problems.goal[0].numel()
    to_states = actions.new_zeros(batch, time, features, h, features)
    to_actions = actions.new_zeros(batch, time, features, h, size)
    predictions = []
    for part in problems.context.along(model, states, actions):
        seen, taken = (each.flatten(0, 1).detach().requires_grad_() for each in (part.states, part.actions))
        with torch.enable_grad():
            predicted = model.step(seen, taken)
            gradients = _rows(predicted.flatten(1), [seen, taken])
        for whole, rows in zip((to_states, to_actions), gradients, strict=True):
            by_feature = torch.stack(rows, 1).flatten(3).unflatten(0, (batch, -1))
            whole[:, part.times, :, h - part.seen :] = by_feature
        predictions.append(predicted.detach().unflatten(0, (batch, -1)))
    jacobian = actions.new_zeros(batch, time, features, time * size + (time - 1) * features)
    for t in range(time):
        for back in range(h):
            # The newest state of window t is s_t, virtual state number t - 1; the newest action is a_t.
            action, virtual = t - back, t - back - 1
            if action >= 0:
                jacobian[:, t, :, action * size : (action + 1) * size] = to_actions[:, t, :, h - 1 - back]
            if virtual >= 0:
                first = time * size + virtual * features
                jacobian[:, t, :, first : first + features] = to_states[:, t, :, h - 1 - back]
    return torch.cat(predictions, 1), jacobian


def _rows(outputs: Float[Tensor, "n features"], inputs: list[Tensor]) -> list[list[Tensor]]:
    """Gradients of each output feature with respect to each input: `[input][feature]`."""
    found = [
        torch.autograd.grad(feature.sum(), inputs, retain_graph=True, materialize_grads=True) for feature in outputs.unbind(1)
    ]
    return [list(gradients) for gradients in zip(*found, strict=True)]


def _goal_hessian(
    cost: GoalCost, states: Float[Tensor, "n *state"], goals: Float[Tensor, "n *state"]
) -> Float[Tensor, "n features features"]:
    """Hessian of the goal cost with respect to the state."""
    with torch.enable_grad():
        leaf = states.detach().flatten(1).requires_grad_()
        value = cost(leaf.unflatten(1, states.shape[1:]), goals)
        (gradient,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)
        (rows,) = _rows(gradient, [leaf])
    return torch.stack(rows, 1)


def _square_root(matrix: Float[Tensor, "n features features"]) -> Float[Tensor, "n features features"]:
    """R with R^T R = matrix; negative eigenvalues count as zero, as in Gauss-Newton."""
    values, vectors = torch.linalg.eigh(matrix)
    return values.clamp_min(0).sqrt().unsqueeze(2) * vectors.mT


def _rank(root: Float[Tensor, "n features features"]) -> int:
    """Smallest rank of the goal cost's Hessian over the rows."""
    values = root.square().sum(2)
    return int((values > 1e-12 * values.amax(1, keepdim=True)).sum(1).min())


def _ratio(values: Float[Tensor, "batch ascending"], rank: int) -> Float[Tensor, " batch"]:
    """Ratio of the largest to the `rank`-th largest eigenvalue; infinite where the latter is rounding error."""
    top, least = values[:, -1], values[:, -rank]
    sound = least > torch.finfo(values.dtype).eps * values.shape[1] * top
    return torch.where(sound, top / least, torch.inf)
