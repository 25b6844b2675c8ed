"""Models over patches (PreJEPA's protocol): actions stand inside the embedding, proprioception is in every patch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from planners.hosts import stable_worldmodel as swm
from tests.planners.hosts.stand_ins import (
    ACTIONS,
    F64,
    FEATURES,
    Evaluator,
    GoalMSE,
    PlanConfig,
    info_of,
    random_network,
    seeded,
)
from world_models.base import rollout
from world_models.history import History

PATCHES, PIXELS, BODY, ACT = 2, 3, 2, 4


class Encoder(nn.Module):
    """An encoder of one further source."""

    def __init__(self, seed: int, inputs: int, emb_dim: int) -> None:
        super().__init__()
        self.emb_dim, self.net = emb_dim, random_network(seed, inputs, emb_dim)

    def forward(self, values: Tensor) -> Tensor:
        return self.net(values)


class Patches(nn.Module):
    """The host's model: embeddings `[batch, time, patch, pixels + further sources]`, windows of at most `history_size`."""

    history_size = 3

    def __init__(self, order: tuple[str, ...]) -> None:
        super().__init__()
        encoders = {"proprio": Encoder(1, ACTIONS, BODY), "action": Encoder(2, ACTIONS, ACT)}
        self.extra_encoders = nn.ModuleDict({name: encoders[name] for name in order})
        self.picture = random_network(0, FEATURES, PATCHES * PIXELS)
        self.net = random_network(3, PIXELS + BODY + ACT, PIXELS + BODY + ACT)

    def encode(
        self, info: dict, pixels_key: str = "pixels", emb_keys: Any = None, prefix: str = "", target: str = "emb"
    ) -> dict:
        names = list(self.extra_encoders) if emb_keys is None else emb_keys
        parts = [self.picture(info[pixels_key]).unflatten(-1, (PATCHES, PIXELS))]
        result = info | {f"pixels_{target}": parts[0]}
        for name in names:
            result[f"{name}_{target}"] = self.extra_encoders[name](info[f"{prefix}{name}"])
            parts.append(result[f"{name}_{target}"].unsqueeze(2).expand(-1, -1, PATCHES, -1))
        return result | {target: torch.cat(parts, -1)}

    def predict(self, embedding: Tensor) -> Tensor:
        count = torch.arange(1, embedding.shape[1] + 1, dtype=F64).view(1, -1, 1, 1)
        return embedding + 0.3 * self.net(embedding.cumsum(1) / count + embedding.mean(2, keepdim=True))

    def split_embedding(self, embedding: Tensor, extra_dims: list[int]) -> dict[str, Tensor]:
        first = embedding.shape[-1] - sum(extra_dims)
        result = {"pixels_emb": embedding[..., :first]}
        for name, width in zip(self.extra_encoders, extra_dims, strict=True):
            result[f"{name}_emb"] = embedding[..., 0, first : first + width]
            first += width
        return result

    def rollout(self, info: dict, candidates: Tensor) -> dict:
        batch, count, time = candidates.shape[:3]
        past = info.get("action_history", candidates[:, :, :0])
        taken = torch.cat([past, candidates], 2).flatten(0, 1)
        seen = {name: info[name][:, 0].repeat_interleave(count, 0) for name in ("pixels", "proprio")}
        frames = seen["pixels"].shape[1]
        emb = self.encode(seen | {"action": taken[:, :frames]})["emb"]
        first = PIXELS + sum(self.extra_encoders[name].emb_dim for name in list(self.extra_encoders)[: self.order("action")])
        for step in range(time):
            following = self.predict(emb[:, -self.history_size :])[:, -1:]
            if frames + step < taken.shape[1]:
                act = self.extra_encoders["action"](taken[:, frames + step])[:, None, None].expand(-1, -1, PATCHES, -1)
                following = torch.cat([following[..., :first], act, following[..., first + ACT :]], -1)
            emb = torch.cat([emb, following], 1)
        parts = self.split_embedding(emb, [encoder.emb_dim for encoder in self.extra_encoders.values()])
        return info | {f"predicted_{name}": part.unflatten(0, (batch, count)) for name, part in parts.items()}

    def order(self, name: str) -> int:
        return list(self.extra_encoders).index(name)


class Sum(nn.Module):
    """A weighted sum of objectives."""

    def __init__(self, *terms: tuple[float, nn.Module]) -> None:
        super().__init__()
        self.weights, self.terms = [weight for weight, _ in terms], nn.ModuleList(term for _, term in terms)

    def forward(self, info: dict) -> Tensor:
        return torch.stack([weight * term(info) for weight, term in zip(self.weights, self.terms, strict=True)]).sum(0)


def split_goal(model: Patches, info: dict) -> Tensor:
    """The goal's embedding without action; its parts go into the info."""
    goal = {name: info[name][:, 0] for name in ("goal", "goal_proprio")}
    goal = model.encode(goal, target="goal_emb", pixels_key="goal", prefix="goal_", emb_keys=["proprio"])
    info |= {name: goal[name] for name in ("goal_emb", "pixels_goal_emb", "proprio_goal_emb")}
    return goal["goal_emb"]


class SplitEvaluator(Evaluator):
    """The host's cost object, whose goal encoder writes into its info."""

    def get_cost(self, info: dict, candidates: Tensor) -> Tensor:
        info = dict(info)
        split_goal(self.model, info)  # pyright: ignore[reportArgumentType]
        return self.objective(self.model.rollout(info, candidates))  # pyright: ignore[reportCallIssue]


def patch_info(frames: int) -> dict[str, Tensor]:
    body = torch.randn(3, frames + 1, ACTIONS, generator=seeded(5), dtype=F64)
    return info_of(frames=frames) | {"proprio": body[:, :frames], "goal_proprio": body[:, frames:]}


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("order", [("proprio", "action"), ("action", "proprio")])
def test_rollouts_are_the_hosts(order: tuple[str, ...], frames: int) -> None:
    network, info = Patches(order), patch_info(frames)
    actions = torch.randn(3, 5, ACTIONS, generator=seeded(0), dtype=F64)
    model, states = swm.PatchDynamics.of(network, ACTIONS, info, None)
    assert model.state_shape == (PATCHES, PIXELS + BODY)
    ours = model.parts(rollout(model, History(grows=True).context(model, states, info["action_history"]), actions))
    theirs = network.rollout({key: value[:, None] for key, value in info.items()}, actions[:, None])
    for name in ("pixels", "proprio"):
        expected = theirs[f"predicted_{name}_emb"][:, 0, frames:]
        torch.testing.assert_close(ours[name], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", [swm.GraspSolver, swm.GDSolver, swm.CEMSolver])
def test_plans_lower_the_hosts_cost_of_several_sources(solver: type[swm.Solver]) -> None:
    objective = Sum((1.0, GoalMSE("proprio_", "mean")), (0.5, GoalMSE("pixels_", "mean")))
    cost = SplitEvaluator(Patches(("proprio", "action")), objective, encode_goal=split_goal)
    info = patch_info(1)
    planned = solver(cost, iterations=25)
    planned.configure(action_space=Box(-1.0, 1.0, (3, ACTIONS)), n_envs=3, config=PlanConfig(4, 4))
    found = planned.solve(info)
    candidates = {key: value[:, None] for key, value in info.items()}
    null, theirs = (
        cost.get_cost(candidates, actions[:, None])[:, 0]
        for actions in (torch.zeros(3, 4, ACTIONS, dtype=F64), found["actions"])
    )
    torch.testing.assert_close(torch.tensor(found["costs"], dtype=F64), theirs)
    assert (theirs < null).all()
