"""TD-MPC2's latent dynamics as a `WorldModel` over state observations (Hansen et al., "TD-MPC2", arXiv 2310.16828).

Encoder and dynamics are networks of the same kind: every layer is linear, LayerNorm, activation; the activation is Mish inside
and SimNorm at the end, so a latent consists of groups of 8 numbers that are positive and sum to 1. Reward, policy and value
heads play no part in reaching a goal and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from world_models.errors import require
from world_models.models.network import Network

SIMNORM_GROUP = 8
"""Size of SimNorm's groups in every published model; a checkpoint's tensors do not tell it."""


@dataclass(frozen=True)
class TDMPC2Config:
    """Configuration of a `TDMPC2`. Raises UserError for a size below 1 or a latent that SimNorm can't group."""

    observation_dim: int
    action_dim: int
    """Size of one environment action."""
    action_block: int = 1
    """Environment steps per model step; the model's action is that many environment actions, concatenated."""
    latent_dim: int = 512
    encoder_widths: Sequence[int] = (256,)
    """Widths of the encoder's hidden layers."""
    dynamics_widths: Sequence[int] = (512, 512)
    """Widths of the dynamics' hidden layers."""
    simnorm_group: int = SIMNORM_GROUP

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoder_widths", tuple(self.encoder_widths))
        object.__setattr__(self, "dynamics_widths", tuple(self.dynamics_widths))
        single = (self.observation_dim, self.action_dim, self.action_block, self.latent_dim, self.simnorm_group)
        sizes = (*single, *self.encoder_widths, *self.dynamics_widths)
        require(
            all(isinstance(size, int) and not isinstance(size, bool) and size >= 1 for size in sizes),
            f"TD-MPC2 sizes {sizes} must be whole numbers >= 1.",
        )
        require(
            self.latent_dim % self.simnorm_group == 0,
            f"TD-MPC2 latent_dim {self.latent_dim} is not a multiple of simnorm_group {self.simnorm_group}.",
        )


class NormedLinear(nn.Linear):
    """A linear layer followed by LayerNorm; the network applies the activation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.ln = nn.LayerNorm(outputs)

    def forward(self, input: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Normalised pre-activations."""
        return self.ln(super().forward(input))


def simnorm(x: Float[Tensor, "*batch latent"], group: int) -> Float[Tensor, "*batch latent"]:
    """Softmax within each group of `group` consecutive features."""
    return x.unflatten(-1, (-1, group)).softmax(-1).flatten(-2)


class TDMPC2(Network[TDMPC2Config]):
    """Encoder and latent dynamics; observations are in the checkpoint's training units, actions in [-1, 1]."""

    def __init__(self, config: TDMPC2Config) -> None:
        super().__init__(config)
        latent, action = config.latent_dim, config.action_dim * config.action_block
        self.encoder = _layers([config.observation_dim, *config.encoder_widths, latent])
        self.dynamics = _layers([latent + action, *config.dynamics_widths, latent])

    @property
    def state_shape(self) -> tuple[int, ...]:
        """`(latent_dim,)`."""
        return (self.config.latent_dim,)

    def encode(self, observation: Float[Tensor, "batch observation"]) -> Float[Tensor, "batch latent"]:
        """Latents of state observations."""
        return self._run(self.encoder, observation.to(self.dtype))

    def step(self, states: Float[Tensor, "n 1 latent"], actions: Float[Tensor, "n 1 action"]) -> Float[Tensor, "n latent"]:
        """The next latents."""
        return self._run(self.dynamics, torch.cat([states[:, 0], actions[:, 0]], -1))

    def _run(self, layers: nn.ModuleList, x: Tensor) -> Float[Tensor, "n latent"]:
        for layer in layers[:-1]:
            x = functional.mish(layer(x))
        return simnorm(layers[-1](x), self.config.simnorm_group)


def _layers(widths: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(NormedLinear(inputs, outputs) for inputs, outputs in pairwise(widths))
