"""Every kind of world model, small, for `tests/conformance/test_models.py`. New kinds are appended here."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tests.support.planning import Patches, small_mlp
from tests.world_models.adapters.test_dino_wm import small
from world_models.adapters.lewm.model import LeWM, LeWMConfig
from world_models.adapters.tdmpc2.model import TDMPC2, TDMPC2Config
from world_models.base import WorldModel
from world_models.checkpoints import store as checkpoints
from world_models.models.analytic import DoubleIntegrator, LinearQuadratic, Pendulums, WithEffort
from world_models.models.encoders import ENCODERS
from world_models.models.ensemble import Ensemble
from world_models.models.jepa import JEPA, JEPAConfig
from world_models.models.mlp import MLPConfig, ResidualMLP
from world_models.testing import ModelCase, pixel_observations, vectors


def moved(make: Callable[[], nn.Module]) -> Callable[[torch.dtype], WorldModel]:
    """A maker from that of a module: seeded, frozen, in evaluation mode, and moved to the type as users would."""

    def in_type(dtype: torch.dtype) -> WorldModel:
        torch.manual_seed(0)
        model = make().to(dtype).requires_grad_(False).eval()
        assert isinstance(model, WorldModel)
        return model

    return in_type


class Recurrent(nn.Module):
    """A world model that sees three states and actions: s' = s + tanh(W window)."""

    state_shape, action_dim, history = (3,), 2, 3

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(15, 3)

    @property
    def device(self) -> torch.device:
        return self.layer.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.layer.weight.dtype

    def encode(self, observation: Tensor) -> Tensor:
        return observation.to(self.dtype)

    def step(self, states: Float[Tensor, "n 3 3"], actions: Float[Tensor, "n 3 2"]) -> Float[Tensor, "n 3"]:
        return states[:, -1] + 0.3 * torch.tanh(self.layer(torch.cat([states, actions], 2).flatten(1)))


def residual_mlp(**config: object) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model = ResidualMLP(MLPConfig(**{"observation_dim": 4, "action_dim": 2, "width": 24, **config}))  # pyright: ignore
        model.set_normalisation(torch.randn(4), torch.rand(4) + 0.5, torch.rand(4) * 0.1 + 0.05)
        return model

    return make


def of_members(member: Callable[[], nn.Module], features: int) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        members = [member() for _ in range(3)]
        for other in members[1:]:
            buffers = dict(members[0].named_buffers())
            for name, buffer in other.named_buffers():
                buffer.copy_(buffers[name])
        return Ensemble(members, torch.rand(features) + 0.1)

    return make


def jepa(encoder: str) -> Callable[[], nn.Module]:
    """A pixel model with proprioception whose predictor looks at differences of its window."""
    sizes = {"size": 32, "latent": 6, "width": 32, "encoder_width": 8, "proprioception": 2, "differences": True}
    return lambda: JEPA(JEPAConfig(action_dim=2, encoder=encoder, **sizes))  # pyright: ignore


def shipped(name: str) -> ModelCase:
    """A model that ships with the package."""
    config = checkpoints.read_card(name)[0]["model"]
    sensors = checkpoints.load(name).sensors
    observe = (
        pixel_observations(sensors.size, sensors.proprioception)
        if sensors.kind == "pixels"
        else vectors(config["observation_dim"])
    )  # pyright: ignore
    return ModelCase(lambda dtype: checkpoints.load(name, dtype=dtype).model, observe)


TDMPC2_SIZES = {
    "observation_dim": 5, "action_dim": 2, "latent_dim": 16, "encoder_widths": (16,), "dynamics_widths": (16, 16),
}  # fmt: skip
LEWM_SIZES = {
    "action_dim": 2, "image_size": 28, "vit_width": 24, "vit_depth": 1, "vit_mlp": 32, "latent_dim": 12, "projector_width": 32,
    "action_hidden": 32, "width": 24,
}  # fmt: skip

MODELS: dict[str, ModelCase] = {
    "linear_quadratic": ModelCase(lambda dtype: LinearQuadratic.random(0, dtype=dtype), vectors(4)),
    "double_integrator": ModelCase(lambda dtype: DoubleIntegrator.make(dtype=dtype), vectors(4)),
    "effort": ModelCase(lambda dtype: WithEffort(LinearQuadratic.random(1, 3, 2, dtype=dtype), 0.1), vectors(3)),
    "pendulums": ModelCase(lambda dtype: Pendulums(3, dtype=dtype), vectors(3)),
    "patches": ModelCase(Patches, lambda count, generator: torch.randn(count, 2, 3, generator=generator)),
    "recurrent": ModelCase(moved(Recurrent), vectors(3)),
    "mlp_relu": ModelCase(moved(residual_mlp(depth=2)), vectors(4)),
    "mlp_silu_blocks": ModelCase(moved(residual_mlp(activation="silu", action_block=3)), vectors(4)),
    "mlp_gelu_no_norm": ModelCase(moved(residual_mlp(activation="gelu", layer_norm=False)), vectors(4)),
    "mlp_open": ModelCase(lambda dtype: small_mlp(dtype).requires_grad_(), vectors(4)),
    "ensemble_of_mlps": ModelCase(moved(of_members(residual_mlp(activation="silu"), 4)), vectors(4)),
    "ensemble_with_history": ModelCase(moved(of_members(Recurrent, 3)), vectors(3)),
    "tdmpc2": ModelCase(moved(lambda: TDMPC2(TDMPC2Config(**TDMPC2_SIZES))), vectors(5)),  # pyright: ignore
    "lewm": ModelCase(moved(lambda: LeWM(LeWMConfig(**LEWM_SIZES))), pixel_observations(28, 0)),  # pyright: ignore
    "dino_wm": ModelCase(moved(small), pixel_observations(32, 4)),
    "jepa_wms": ModelCase(moved(lambda: small("modulated-vit")), pixel_observations(32, 4)),
    **{f"jepa_{encoder}": ModelCase(moved(jepa(encoder)), pixel_observations(32, 2)) for encoder in ENCODERS},
    "ensemble_of_jepas": ModelCase(moved(of_members(jepa("conv"), 8)), pixel_observations(32, 2)),
    **{f"zoo_{name}": shipped(name) for name in checkpoints.zoo_names()},
}
"""Kinds of world models by name."""
