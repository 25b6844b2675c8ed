"""Small models of other projects' architectures with random weights, for comparing rollouts that begin with one frame.

`tests/golden/grown_rollouts.json` holds what the projects' own code gives for them, by `tests/golden/make_grown_rollouts.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from planners import ModelProblems
from planners.objectives import final_cost_gradient
from tests.world_models.adapters.foreign import SMALL, LeWMSizes, lewm_state
from tests.world_models.adapters.published import drawn
from world_models.adapters.lewm import files as lewm
from world_models.adapters.lewm.model import LeWM, LeWMConfig
from world_models.adapters.lewm.reading import read
from world_models.adapters.patches.dinov2 import DinoConfig
from world_models.adapters.patches.model import PatchConfig, PatchModel, goal_cost_of
from world_models.base import Context, GoalCost, SquaredDistance, lifted_step, rollout

GOLDEN = Path(__file__).parents[2] / "golden" / "grown_rollouts.json"
NAMES = ("lewm", "dino_wm", "jepa_wm", "jepa_wms_baseline")
STEPS = 5


@dataclass(frozen=True)
class Grown:
    """A model, and the problem of getting from one frame to a goal."""

    model: LeWM | PatchModel
    weights: Mapping[str, Tensor]
    """Published tensors of a LeWM; our names of a patch model."""
    goal_cost: GoalCost
    start: Tensor
    goal: Tensor
    virtual: Tensor
    """Random states s_1..s_4 for the lifted step."""
    actions: Tensor

    @property
    def problems(self) -> ModelProblems:
        """The problem, known by its first frame alone."""
        high = torch.ones(self.model.action_dim, dtype=self.start.dtype)
        context = Context(self.start.unsqueeze(1), self.actions[:, :0])
        return ModelProblems(context, self.goal, STEPS, -high, high, self.goal_cost)

    def values(self) -> dict[str, Tensor]:
        """The rollout, its cost and the gradient of that, and all steps at once at the virtual states."""
        problems = self.problems
        cost, gradient = final_cost_gradient(self.model, problems, self.actions)
        return {
            "rollout": rollout(self.model, problems.context, self.actions),
            "lifted": lifted_step(self.model, problems.context, self.virtual, self.actions),
            "cost": cost,
            "gradient": gradient,
        }


def grown(name: str, folder: Path, dtype: torch.dtype = torch.float64, published: bool = False) -> Grown:
    """The case of a name, small or of the published size; `folder` is for a checkpoint."""
    model, weights, cost = _lewm(folder, published) if name == "lewm" else _patches(name, published)
    generator = torch.Generator().manual_seed(11)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    start, goal, virtual = random(1, *model.state_shape), random(1, *model.state_shape), random(1, 4, *model.state_shape)
    if isinstance(model, PatchModel):
        # All patches of a frame that was encoded have the same proprioception.
        first = model.config.encoder.width
        for states in (start, goal):
            states[:, :, first:] = states[:, :1, first:]
    actions = torch.rand(1, STEPS, model.action_dim, generator=generator, dtype=torch.float64).to(dtype) * 2 - 1
    return Grown(model.to(dtype).requires_grad_(False).eval(), weights, cost, start, goal, virtual, actions)


def _lewm(folder: Path, published: bool) -> tuple[LeWM, Mapping[str, Tensor], GoalCost]:
    weights = lewm_state(LeWMSizes() if published else SMALL)
    torch.save(weights, folder / "weights.pt")
    contents = read(folder / "weights.pt")
    assert contents is not None
    config = {"action_dim": 2, "action_block": 5}
    model = LeWM(LeWMConfig(**{**asdict(contents.sizes), **config}))
    mean, deviation = lewm.ACTION_STATISTICS["push_t"]
    model.load_state_dict({**contents.tensors, "action_mean": torch.tensor(mean), "action_std": torch.tensor(deviation)})
    return model, weights, SquaredDistance()


def _patches(name: str, published: bool) -> tuple[PatchModel, Mapping[str, Tensor], GoalCost]:
    dino, own = name == "dino_wm", name == "jepa_wm"
    body = (10 if dino else 16 if own else 20) if published else 4
    visual, width, block = (384, 384, 5) if published else (12, 20, 2)
    small: dict[str, Any] = {"side": 2, "depth": 2, "heads": 2, "head_dim": 6, "hidden": 24}
    large: dict[str, Any] = {"side": 14 if dino else 16, "depth": 6, "heads": 16, "hidden": 2048}
    sizes = large if published else small
    if own:
        sizes |= {"hidden": 4 * (width + body)}
    config = PatchConfig(
        action_dim=2,
        action_block=block,
        predictor="modulated-vit" if own else "causal-vit",
        history=3 if dino else 2,
        frames=3 if dino else 4,
        width=width,
        action_embedding=width + body if own else 2 * block,
        proprioception=4,
        body_embedding=body,
        body_weight=1.0 if dino else 0.1,
        body_everywhere=not dino,
        encoder=DinoConfig(width=visual, depth=1, heads=2, hidden=24, grid=2),
        **sizes,
    )
    model = PatchModel(config)
    weights = drawn({key: tuple(value.shape) for key, value in model.state_dict().items()}, 6)
    weights["action_units.weight"], weights["action_units.bias"] = 3 * torch.eye(2), torch.tensor([0.1, -0.2])
    model.load_state_dict(weights)
    return model, weights, goal_cost_of(config)
