"""Worlds, problems and settings that the planner tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from planners import ModelProblems, Plans, Scalar, make_planner
from planners.settings import Setting
from world_models.base import Context, SquaredDistance, WorldModel
from world_models.models.analytic import DoubleIntegrator, LinearQuadratic, Pendulums
from world_models.models.mlp import MLPConfig, ResidualMLP


@dataclass(frozen=True)
class Patches:
    """A world whose states are matrices, like the patch latents of a vision model: s' = 0.9 s + a_i in row i."""

    dtype: torch.dtype = torch.float32
    state_shape: tuple[int, ...] = (2, 3)
    action_dim: int = 2
    history: int = 1

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def encode(self, observation: Tensor) -> Tensor:
        return observation

    def step(self, states: Float[Tensor, "n 1 two three"], actions: Float[Tensor, "n 1 two"]) -> Float[Tensor, "n two three"]:
        return 0.9 * states[:, 0] + torch.tanh(actions[:, 0]).unsqueeze(-1)


@dataclass(frozen=True)
class Wrapped:
    """A world model that passes everything on to another."""

    world: WorldModel

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.world.state_shape

    @property
    def action_dim(self) -> int:
        return self.world.action_dim

    @property
    def history(self) -> int:
        return self.world.history

    @property
    def device(self) -> torch.device:
        return self.world.device

    @property
    def dtype(self) -> torch.dtype:
        return self.world.dtype

    def encode(self, observation: Tensor) -> Tensor:
        return self.world.encode(observation)

    def step(self, states: Float[Tensor, "n h *state"], actions: Float[Tensor, "n h action"]) -> Float[Tensor, "n *state"]:
        return self.world.step(states, actions)


@dataclass(frozen=True)
class Counting(Wrapped):
    """A world that counts the states it steps, call by call."""

    calls: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(self.calls)

    def step(self, states: Float[Tensor, "n h *state"], actions: Float[Tensor, "n h action"]) -> Float[Tensor, "n *state"]:
        self.calls.append(states.shape[0])
        return super().step(states, actions)


def small_mlp(dtype: torch.dtype, seed: int = 0) -> ResidualMLP:
    torch.manual_seed(seed)
    model = ResidualMLP(MLPConfig(observation_dim=4, action_dim=2, width=16))
    model.delta_scale.fill_(0.1)
    return model.to(dtype).requires_grad_(False)


WORLDS: dict[str, Callable[[torch.dtype], WorldModel]] = {
    "linear_quadratic": lambda dtype: LinearQuadratic.random(0, dtype=dtype),
    "scalar": lambda dtype: LinearQuadratic.random(0, 1, 1, dtype=dtype),
    "double_integrator": lambda dtype: DoubleIntegrator.make(dtype=dtype),
    "pendulums": lambda dtype: Pendulums(dtype=dtype),
    "patches": Patches,
    "mlp": small_mlp,
}

SETTINGS: dict[str, dict[str, Scalar]] = {
    "grasp": {"iterations": 12, "sync_every": 5, "sync_steps": 3, "final_sync_steps": 4, "init_noise": 0.1},
    "gd": {"iterations": 12, "init_noise": 0.1},
    "cem": {"iterations": 12, "samples": 24, "elites": 5, "min_std": 0.05},
    "icem": {"iterations": 12, "samples": 24, "elites": 5, "min_std": 0.05, "shrink": 1.1},
    "mppi": {"iterations": 12, "samples": 24},
    "latco": {"iterations": 12, "check_every": 4, "update_every": 3, "goal_weight": 0.1, "init_noise": 0.1},
    "random_shooting": {"iterations": 12, "samples": 24},
}
"""A short run of each planner that uses all of its parts."""


def problems_for(model: WorldModel, batch: int = 3, steps: int = 6, bound: float = 0.5, seed: int = 0) -> ModelProblems:
    """Random starts and goals; actions within [-bound, bound]."""
    generator = torch.Generator().manual_seed(seed)
    start, goal = torch.randn(2, batch, *model.state_shape, generator=generator, dtype=torch.float64).to(model.dtype)
    high = torch.full((model.action_dim,), bound, dtype=model.dtype)
    return ModelProblems(Context.at(model, start), goal, steps, -high, high, SquaredDistance())


def take(problems: ModelProblems, rows: list[int]) -> ModelProblems:
    """The problems at the given indices, in that order."""
    context = Context(problems.context.states[rows], problems.context.actions[rows])
    return ModelProblems(context, problems.goal[rows], problems.steps, problems.low, problems.high, problems.goal_cost)


def plan(name: str, model: WorldModel, problems: ModelProblems, seeds: list[int], **settings: Setting) -> Plans:
    """A short run of a planner."""
    return make_planner(name, {**SETTINGS[name], **settings}).plan(model, problems, seeds)
