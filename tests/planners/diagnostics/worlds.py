"""Small worlds and variables of the lifted problem, in double precision, that the diagnostics' tests share."""

import torch

from planners import ModelProblems
from planners.diagnostics.gradients import LiftedPhase
from world_models.models.analytic import LinearQuadratic
from world_models.models.mlp import MLPConfig, ResidualMLP

F64 = torch.float64


def world(radius: float = 0.95) -> LinearQuadratic:
    return LinearQuadratic.random(3, 4, 2, radius, dtype=F64)


def smooth_mlp() -> ResidualMLP:
    torch.manual_seed(1)
    model = ResidualMLP(MLPConfig(observation_dim=4, action_dim=2, width=12, depth=2, activation="silu"))
    model.delta_scale.fill_(0.3)
    return model.to(F64).requires_grad_(False)


def somewhere(problems: ModelProblems, model, seed: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Virtual states and actions drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(problems.batch, problems.steps - 1, *model.state_shape, generator=generator, dtype=F64)
    return states, 0.5 * torch.randn(problems.batch, problems.steps, model.action_dim, generator=generator, dtype=F64)


def weights(problems: ModelProblems, goal_weight: float = 0.3) -> torch.Tensor:
    return LiftedPhase(goal_weight=goal_weight).weights(problems)
