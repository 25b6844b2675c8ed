"""Our planners inside a stand-in of jepa-wms: its agent, its model's `unroll`, its objectives."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from planners import ModelProblems, make_planner
from planners.hosts import jepa_wms
from tests.planners.hosts.stand_ins import ACTIONS, CPU, F64, random_network, seeded
from world_models.base import Context, SquaredDistance
from world_models.errors import UserError

SIDE, DEEP, BODY = 2, 3, 2
SHORT = {"iterations": 8, "sync_every": 4, "sync_steps": 2, "init_noise": 0.1}


class Latents(dict):
    """Encodings by name, in place of a TensorDict."""


class Inner(nn.Module):
    """The host's predictor over windows of visual and proprioceptive encodings."""

    def __init__(self) -> None:
        super().__init__()
        self.act = random_network(0, ACTIONS, DEEP)
        self.net = random_network(1, DEEP, DEEP)

    def encode_act(self, actions: Tensor) -> Tensor:
        return self.act(actions)

    def forward_pred(self, visual: Tensor, actions: Tensor, proprio: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        assert visual.shape[1] == actions.shape[1], "the host pairs each frame with its action"
        count = torch.arange(1, visual.shape[1] + 1, dtype=F64).view(1, -1, 1, 1, 1, 1)
        seen = (visual + actions[:, :, None, None, None]).cumsum(1) / count
        mixed = 0.2 * self.net(seen.mean((2, 3, 4)))
        after = visual + 0.3 * self.net(seen)
        return after, actions, None if proprio is None else proprio + mixed[:, :, None, :BODY]


class World(nn.Module):
    """The host's `EncPredWM`: rollouts `[time, batch, ...]` by windows of `ctxt_window` frames."""

    proprio_mode, action_dim, ctxt_window = "predict_proprio", ACTIONS, 2

    def __init__(self) -> None:
        super().__init__()
        self.model = Inner()

    def unroll(self, z: Any, act_suffix: Tensor) -> Any:
        parts = [z] if isinstance(z, Tensor) else [z["visual"], z["proprio"]]
        parts = [part.expand(act_suffix.shape[1], *part.shape[1:]) for part in parts]
        taken = self.model.encode_act(act_suffix.transpose(0, 1))
        for step in range(len(act_suffix)):
            window = slice(-self.ctxt_window, None)
            proprio = parts[1][:, window] if len(parts) == 2 else None
            after = self.model.forward_pred(parts[0][:, window], taken[:, : step + 1][:, window], proprio)
            parts = [torch.cat([part, after[2 * i][:, -1:]], 1) for i, part in enumerate(parts)]  # pyright: ignore[reportOptionalSubscript]
        turned = [part.transpose(0, 1) for part in parts]
        return turned[0] if isinstance(z, Tensor) else Latents(visual=turned[0], proprio=turned[1])

    def decode_unroll(self, encodings: Any) -> Any:
        return len(encodings)


@dataclass
class Distance:
    """The host's L2 objective: mean squares of the last encodings, proprioception weighted by alpha."""

    target_enc: Any
    alpha: float = 0.1
    sum_all_diffs: bool = False

    def __call__(self, encodings: Any, actions: Tensor) -> Tensor:
        if isinstance(encodings, Tensor):
            gaps = self._gaps(encodings, self.target_enc)
        else:
            visual, proprio = (self._gaps(encodings[name], self.target_enc[name]) for name in ("visual", "proprio"))
            gaps = visual + self.alpha * proprio
        return gaps.sum(0) if self.sum_all_diffs else gaps[-1]

    def _gaps(self, encodings: Tensor, target: Tensor) -> Tensor:
        return (target - encodings).square().flatten(2).mean(2)


@dataclass
class Cosine(Distance):
    """The host's similarity, negated: -1 at the goal."""

    def _gaps(self, encodings: Tensor, target: Tensor) -> Tensor:
        return -torch.cosine_similarity(encodings.flatten(2), target.flatten().expand(*encodings.shape[:2], -1), dim=-1)


def latents(seed: int, with_body: bool = True) -> Any:
    visual = torch.randn(1, 1, 1, SIDE, SIDE, DEEP, generator=seeded(seed), dtype=F64)
    body = torch.randn(1, 1, 1, BODY, generator=seeded(seed + 1), dtype=F64)
    return Latents(visual=visual, proprio=body) if with_body else visual


def agent(objective: Any, planner: str = "grasp", config: dict | None = None, **settings: Any) -> Any:
    """An agent whose planner is ours, with an objective."""
    planner_config = {"horizon": 5, "num_act_stepped": 2, "decode_each_iteration": True, **(config or {})}
    cfg = SimpleNamespace(planner=planner_config, local_seed=3)
    made = SimpleNamespace(cfg=cfg, model=World().requires_grad_(False), planner=None)
    jepa_wms.install(made, planner, **settings)
    made.planner.set_objective(objective)
    return made


@dataclass(frozen=True)
class Own:
    """The stand-in's model without proprioception as one of ours, written without the bridge, one frame at a time."""

    world: World
    state_shape: tuple[int, ...] = (1, SIDE, SIDE, DEEP)
    action_dim: int = ACTIONS
    history: int = 1
    device: torch.device = CPU
    dtype: torch.dtype = field(default=F64)

    def encode(self, observation: Tensor) -> Tensor:
        return observation

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        return self.world.model.forward_pred(states, self.world.model.encode_act(actions), None)[0][:, -1]


def test_plans_are_those_of_our_host() -> None:
    start, goal = latents(1, with_body=False), latents(7, with_body=False)
    theirs = agent(Distance(goal), **SHORT)
    theirs.model.ctxt_window = 1
    model, high = Own(theirs.model), torch.full((ACTIONS,), torch.inf, dtype=F64)
    for seed in (3, 4):
        found = theirs.planner.plan(start, steps_left=4)
        problems = ModelProblems(Context.at(model, start[:, 0]), goal[:, 0], 4, -high, high, SquaredDistance())
        ours = make_planner("grasp", SHORT).plan(model, problems, [seed])
        torch.testing.assert_close(found.actions, ours.actions[0, :2], rtol=0, atol=1e-6)
        assert float(found.losses[-1]) == pytest.approx(float(ours.cost), rel=1e-6)


@pytest.mark.parametrize("planner", ["grasp", "gd", "cem", "latco"])
@pytest.mark.parametrize("kind", [Distance, Cosine])
@pytest.mark.parametrize("with_body", [True, False])
def test_plans_lower_the_hosts_objective(with_body: bool, kind: Any, planner: str) -> None:
    start, objective = latents(1, with_body), kind(latents(7, with_body))
    settings = SHORT if planner == "grasp" else {"iterations": 12}
    made = agent(objective, planner, {"num_act_stepped": None}, **settings)
    found = made.planner.plan(start)
    assert found.actions.shape == (5, ACTIONS)
    actions = found.actions[:, None]
    theirs = objective(made.model.unroll(start, act_suffix=actions), actions)
    assert float(found.losses[-1]) == pytest.approx(float(theirs), rel=1e-6)
    assert float(theirs) < float(objective(made.model.unroll(start, act_suffix=0 * actions), actions))
    assert (found.losses.diff(dim=0) <= 0).all()
    assert found.pred_frames_over_iterations is not None
    assert len(found.predicted_best_encs_over_iterations) == 1


def test_bounds_and_executed_actions_are_the_configurations() -> None:
    made = agent(Distance(latents(7)), "cem", {"max_norms": [0.05], "max_norm_dims": [[1]]})
    found = made.planner.plan(latents(1), steps_left=9)
    assert found.actions.shape == (2, ACTIONS)
    assert found.actions[:, 1].abs().max() <= 0.05
    assert found.actions[:, 0].abs().max() > 0.05


def test_refusals() -> None:
    goal = latents(7)
    made = agent(Distance(goal, sum_all_diffs=True), **SHORT)
    with pytest.raises(UserError, match="set sum_all_diffs to false"):
        made.planner.plan(latents(1))
    made = agent(Distance(goal))
    made.model.proprio_mode = "compute_new_pose"
    with pytest.raises(UserError, match="computes poses outside the model"):
        made.planner.plan(latents(1))
    twice = Latents({name: part.repeat(1, 2, *[1] * (part.ndim - 2)) for name, part in latents(1).items()})
    with pytest.raises(UserError, match="1 rows and 2 frames"):
        agent(Distance(goal)).planner.plan(twice)
    with pytest.raises(UserError, match="call set_objective first"):
        jepa_wms.HostedPlanner(made.model, "grasp", horizon=3).plan(latents(1))
    with pytest.raises(UserError, match="horizon 0"):
        agent(Distance(goal), config={"horizon": 0})
    with pytest.raises(UserError, match="unknown setting of planner 'grasp'"):
        agent(Distance(goal), num_elites=3)
