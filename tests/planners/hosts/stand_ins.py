"""Stand-ins of the hosts: their protocols in words of our own, over tiny networks with random weights.

A picture has 4 numbers.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

CPU, F64 = torch.device("cpu"), torch.float64
FEATURES, ACTIONS, WIDTH = 4, 2, 16


def random_network(seed: int, inputs: int, outputs: int) -> nn.Sequential:
    """A small network with random weights in float64."""
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(nn.Linear(inputs, WIDTH), nn.Tanh(), nn.Linear(WIDTH, outputs)).to(F64)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=F64) * 0.5
    return network.requires_grad_(False)


class Predictor(nn.Module):
    """A causal mean over the frames so far with their actions, each with an embedding of its position."""

    def __init__(self, seed: int, features: int, num_frames: int = 3) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.net = random_network(seed, 2 * features, features)
        self.register_buffer("positions", 0.3 * torch.randn(num_frames, 2 * features, generator=seeded(seed), dtype=F64))

    def forward(self, emb: Tensor, act_emb: Tensor) -> Tensor:
        """Embeddings that follow each frame, `[n, h, feature]`."""
        seen = torch.cat([emb, act_emb], -1) + self.positions[: emb.shape[1]]
        count = torch.arange(1, emb.shape[1] + 1, dtype=F64).view(1, -1, 1)
        return emb + 0.3 * self.net(seen.cumsum(1) / count)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 3, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Pictures of starts and goals."""
    start, goal = torch.randn(2, count, FEATURES, generator=seeded(seed), dtype=F64)
    return start, goal


def info_of(count: int = 3, seed: int = 1, frames: int = 1) -> dict[str, Tensor]:
    """An info with `frames` frames and the actions between them."""
    _, goal = pictures(count, seed)
    generator = seeded(seed + 1)
    pixels = torch.randn(count, frames, FEATURES, generator=generator, dtype=F64)
    past = torch.randn(count, frames - 1, ACTIONS, generator=generator, dtype=F64)
    return {"pixels": pixels, "goal": goal[:, None], "action_history": past}


@dataclass(frozen=True)
class Own:
    """The stand-in's network as a model of ours, written without the bridge: windows of `history` frames."""

    network: Any
    history: int = 1
    state_shape: tuple[int, ...] = (FEATURES,)
    action_dim: int = ACTIONS
    device: torch.device = CPU
    dtype: torch.dtype = F64

    def encode(self, observation: Tensor) -> Tensor:
        return self.network.picture(observation)

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        return self.network.predict(states, self.network.action_encoder(actions))[:, -1]


class Embedding(nn.Module):
    """A model of stable-worldmodel over one embedding per picture: dictionaries in, dictionaries out, growing windows."""

    def __init__(self, seed: int = 0, num_frames: int = 3, block: int = 1) -> None:
        super().__init__()
        self.picture = random_network(seed, FEATURES, FEATURES)
        self.action_encoder = random_network(seed + 1, ACTIONS * block, FEATURES)
        self.predictor = Predictor(seed + 2, FEATURES, num_frames)

    def encode(self, info: dict) -> dict:
        return info | {"emb": self.picture(info["pixels"])}

    def predict(self, emb: Tensor, act_emb: Tensor) -> Tensor:
        return self.predictor(emb, act_emb)

    def rollout(self, info: dict, action_sequence: Tensor) -> dict:
        """Embeddings of the context's frames and of what follows, `[batch, candidates, frames + time, feature]`."""
        batch, candidates, time = action_sequence.shape[:3]
        past = info.get("action_history", action_sequence[:, :, :0])
        taken = self.action_encoder(torch.cat([past, action_sequence], 2)).flatten(0, 1)
        first = self.encode({"pixels": info["pixels"][:, 0]})["emb"]
        emb = first.repeat_interleave(candidates, 0)
        for _ in range(time):
            window = slice(max(0, emb.shape[1] - self.predictor.num_frames), emb.shape[1])
            emb = torch.cat([emb, self.predict(emb[:, window], taken[:, window])[:, -1:]], 1)
        return info | {"predicted_emb": emb.unflatten(0, (batch, candidates))}


class GoalMSE(nn.Module):
    """Squared difference between the last predicted and the goal's embedding, summed or averaged."""

    def __init__(self, source: str = "", reduction: str = "sum") -> None:
        super().__init__()
        self.predicted, self.goal = f"predicted_{source}emb", f"{source}goal_emb"
        self.reduction = reduction

    def forward(self, info: dict) -> Tensor:
        gaps = (info[self.predicted][:, :, -1] - info[self.goal][:, None, -1]).square().flatten(2)
        return gaps.sum(2) if self.reduction == "sum" else gaps.mean(2)


class WithPenalty(GoalMSE):
    """The same and a penalty on the candidates' actions."""

    def forward(self, info: dict) -> Tensor:
        return super().forward(info) + info["action_candidates"].square().flatten(2).sum(2)


class PathCost(nn.Module):
    """The goal's cost summed over all predicted frames, which needs more than the last."""

    def forward(self, info: dict) -> Tensor:
        return (info["predicted_emb"] - info["goal_emb"][:, None, -1:]).square().flatten(2).sum(2)


def flat_goal(model: Any, info: dict) -> Tensor:
    """The goal's embedding, as the host makes it from an info with candidates."""
    return model.encode({"pixels": info["goal"][:, 0]})["emb"]


class Evaluator(nn.Module):
    """A cost object of stable-worldmodel: goal encoder, rollout, objective."""

    def __init__(self, model: nn.Module, objective: nn.Module, constraints: Any = None, encode_goal: Any = flat_goal) -> None:
        super().__init__()
        self.model, self.objective, self.constraints, self.encode_goal = model, objective, constraints, encode_goal

    def get_cost(self, info: dict, candidates: Tensor) -> Tensor:
        info = {**info, "goal_emb": self.encode_goal(self.model, info)}
        return self.objective({**self.model.rollout(info, candidates), "action_candidates": candidates})


class LeWM(Embedding):
    """A model of le-wm, which has its own costs, right for one environment at a time only."""

    def criterion(self, info: dict) -> Tensor:
        predicted = info["predicted_emb"]
        goal = info["goal_emb"][..., -1:, :].expand_as(predicted)
        return (predicted[..., -1:, :] - goal[..., -1:, :]).square().sum((2, 3))

    def get_cost(self, info: dict, candidates: Tensor) -> Tensor:
        goal = {"pixels": info["goal"][:, 0], "action": info["action"][:, 0]}
        goal.pop("action")
        return self.criterion({**self.rollout(info, candidates), "goal_emb": self.encode(goal)["emb"]})


@dataclass(frozen=True)
class PlanConfig:
    """The configuration that a policy hands to its solver."""

    horizon: int
    receding_horizon: int
    action_block: int = 1
    warm_start: bool = True


class Policy:
    """The host's policy: plans when a buffer is empty, executes the first part, starts the next plan at the rest."""

    def __init__(self, solver: Any, config: PlanConfig, count: int) -> None:
        self.solver, self.config = solver, config
        space = Box(-1.0, 1.0, (count, ACTIONS))
        solver.configure(action_space=space, n_envs=count, config=config)
        self.buffers = [deque() for _ in range(count)]
        self.rest: Tensor | None = None
        self.plans: list[Tensor] = []

    def act(self, info: dict) -> Tensor:
        """Actions `[count, action]` of one environment step."""
        if not self.buffers[0]:
            plan = self.solver(dict(info), init_action=self.rest)["actions"]
            kept = self.config.receding_horizon
            self.plans.append(plan)
            self.rest = plan[:, kept:] if self.config.warm_start and plan.shape[1] > kept else None
            for buffer, steps in zip(self.buffers, plan[:, :kept].reshape(len(plan), -1, ACTIONS), strict=True):
                buffer.extend(steps)
        return torch.stack([buffer.popleft() for buffer in self.buffers])


def drift(pictures: Tensor, actions: Tensor) -> Tensor:
    """An environment: where a picture of 4 numbers goes in one step."""
    return 0.9 * pictures + 0.2 * torch.cat([actions, actions.flip(1)], 1)


def evaluate(policy: Policy, pictures: Tensor, goals: Tensor, steps: int) -> list[dict[str, Tensor]]:
    """The host's evaluation loop: the infos that the policy saw at each step."""
    seen = []
    for _ in range(steps):
        count = len(pictures)
        info = {"pixels": pictures[:, None], "goal": goals[:, None], "action": torch.full((count, 1, ACTIONS), torch.nan)}
        seen.append(info)
        pictures = drift(pictures, policy.act(info).to(pictures))
    return seen


class CEM:
    """The host's cross-entropy solver: the variance is the factor of the noise, the plan is the last mean."""

    def __init__(
        self, cost: Any, num_samples: int = 32, topk: int = 6, n_steps: int = 8, var_scale: float = 0.3, seed: int = 0
    ) -> None:
        self.cost, self.num_samples, self.topk, self.n_steps, self.var_scale = cost, num_samples, topk, n_steps, var_scale
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = next(cost.parameters()).dtype

    def configure(self, *, action_space: Any, n_envs: int, config: Any) -> None:
        self.n_envs, self.horizon = n_envs, config.horizon
        self.action_dim = int(np.prod(action_space.shape[1:])) * config.action_block

    @torch.inference_mode()
    def solve(self, info_dict: dict, init_action: Tensor | None = None) -> dict:
        means, last = [], []
        for row in range(len(next(iter(info_dict.values())))):
            info = {key: value[row : row + 1, None].expand(1, self.num_samples, *value.shape[1:])
                    for key, value in info_dict.items()}  # fmt: skip
            mean = torch.zeros(1, self.horizon, self.action_dim, dtype=self.dtype)
            if init_action is not None:
                mean[:, : init_action.shape[1]] = init_action[row]
            factor = torch.full_like(mean, self.var_scale)
            for _ in range(self.n_steps):
                shape = 1, self.num_samples, self.horizon, self.action_dim
                noise = torch.randn(shape, generator=self.generator, dtype=self.dtype)
                candidates = mean[:, None] + noise * factor[:, None]
                candidates[:, 0] = mean
                costs = self.cost.get_cost(info, candidates)
                best = costs.topk(self.topk, dim=1, largest=False)
                elites = candidates[0, best.indices[0]][None]
                mean, factor = elites.mean(1), elites.std(1)
            means.append(mean)
            last.append(float(best.values.mean()))
        sys.stdout.write("CEM is done\n")
        return {"actions": torch.cat(means), "costs": last}


class Descent:
    """The host's gradient solver, in short: calls `backward` on the cost."""

    def __init__(self, cost: Any, n_steps: int = 10, lr: float = 0.1, noise: float = 0.05) -> None:
        self.cost, self.n_steps, self.lr, self.noise = cost, n_steps, lr, noise

    def configure(self, *, action_space: Any, n_envs: int, config: Any) -> None:
        self.shape = n_envs, 1, config.horizon, int(np.prod(action_space.shape[1:])) * config.action_block

    def solve(self, info_dict: dict, init_action: Tensor | None = None) -> dict:
        dtype = next(self.cost.parameters()).dtype
        # From the global generator, which a careful host would not.
        actions = (self.noise * torch.randn(self.shape, dtype=dtype)).requires_grad_()
        optimizer = torch.optim.Adam([actions], lr=self.lr)
        for _ in range(self.n_steps):
            optimizer.zero_grad()
            self.cost.get_cost(info_dict, actions).sum().backward()
            optimizer.step()
        return {"actions": actions[:, 0]}
