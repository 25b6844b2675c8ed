"""Initialisers: the actions and virtual states from which a search starts."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from planners.base import ModelProblems, Start
from planners.classes import Classes
from world_models.base import WorldModel, rollout


def null_actions(problems: ModelProblems, action_dim: int) -> Float[Tensor, "batch time action"]:
    """Zero actions, clamped to the bounds where these exclude zero; of classes, all in equal shares."""
    zeros = problems.goal.new_zeros(problems.batch, problems.steps, action_dim)
    if (classes := Classes.of(problems)) is not None:
        classes.project(zeros)
    return torch.clamp(zeros, problems.low, problems.high)


def interpolated_states(problems: ModelProblems) -> Float[Tensor, "batch virtual *state"]:
    """Virtual states s_t = (1 - t/T) s_0 + (t/T) g for t = 1..T-1, on the straight line (none for T = 1)."""
    start, goal = problems.context.last.unsqueeze(1), problems.goal.unsqueeze(1)
    share = torch.arange(1, problems.steps, device=goal.device, dtype=goal.dtype) / problems.steps
    return torch.lerp(start, goal, share.view(1, -1, *[1] * (goal.ndim - 2)))


def linear(model: WorldModel, problems: ModelProblems) -> Start:
    """Null actions, and virtual states on the straight line from start to goal (arXiv 2602.00475)."""
    return Start(null_actions(problems, model.action_dim), interpolated_states(problems))


def zeros(model: WorldModel, problems: ModelProblems) -> Start:
    """Null actions, and their rollout in the model as virtual states."""
    actions = null_actions(problems, model.action_dim)
    return Start(actions, rollout(model, problems.context, actions)[:, :-1])
