"""JEPA: a world model of images that predicts the next latent, never an image.

A state is one normalised latent vector (followed by normalised proprioception, if the model takes any). One model step adds a
learned change to the last of h states: s' = s + delta_scale * f(s_{t-h+1..t}, a_{t-h+1..t}).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from world_models.base import PixelObservation
from world_models.errors import UnknownNameError, require
from world_models.models.encoders import ENCODERS
from world_models.models.mlp import ACTIVATIONS
from world_models.models.network import Network


@dataclass(frozen=True)
class JEPAConfig:
    """Configuration of a `JEPA`. Raises UserError for invalid sizes and UnknownNameError for unknown names."""

    action_dim: int
    """Size of one environment action."""
    action_block: int = 1
    """Environment steps per model step."""
    size: int = 64
    """Side of the images, px: a multiple of 16."""
    latent: int = 16
    proprioception: int = 0
    """Proprioception features that follow the latent in a state."""
    encoder: str = "conv"
    """Name in `world_models.models.encoders.ENCODERS`."""
    encoder_width: int = 32
    history: int = 3
    differences: bool = True
    """Give the predictor the last state and the changes that led to it, in units of `delta_scale`, instead of h states."""
    width: int = 256
    depth: int = 3
    """Hidden layers of the predictor: the input layer and `depth - 1` residual blocks."""
    activation: str = "silu"

    def __post_init__(self) -> None:
        for name in ("action_dim", "action_block", "size", "latent", "encoder_width", "history", "width", "depth"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            require(whole, f"JEPAConfig.{name} {value!r} is not a valid size: give a whole number >= 1.")
        require(
            self.size % 16 == 0, f"JEPAConfig.size {self.size} is not a multiple of 16: choose {self.size // 16 * 16 + 16}."
        )
        require(self.proprioception >= 0, f"JEPAConfig.proprioception {self.proprioception} must be >= 0.")
        if self.encoder not in ENCODERS:
            raise UnknownNameError("encoder", self.encoder, ENCODERS)
        if self.activation not in ACTIVATIONS:
            raise UnknownNameError("activation", self.activation, ACTIVATIONS)

    @property
    def state(self) -> int:
        """Number of features of a state."""
        return self.latent + self.proprioception


class Predictor(nn.Module):
    """f: one step's change in units of `delta_scale`, from a window of states and actions (a residual MLP)."""

    def __init__(self, config: JEPAConfig) -> None:
        super().__init__()
        h, width = config.history, config.width
        self.state_in = nn.Linear(h * config.state, width)
        self.action_in = nn.Linear(h * config.action_dim * config.action_block, width, bias=False)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(config.depth - 1))
        self.out = nn.Linear(width, config.state)
        self._activation = ACTIVATIONS[config.activation]

    def forward(self, seen: Float[Tensor, "n h state"], actions: Float[Tensor, "n h action"]) -> Float[Tensor, "n state"]:
        """The change, from the window as `JEPA.delta` prepares it."""
        hidden = self._activation(self.state_in(seen.flatten(1)) + self.action_in(actions.flatten(1)))
        for block in self.blocks:
            hidden = hidden + self._activation(block(functional.layer_norm(hidden, hidden.shape[1:])))
        return self.out(hidden)


class JEPA(Network[JEPAConfig]):
    """A `WorldModel` over images. `calibrate` sets its normalisation buffers from the trained encoder's latents."""

    def __init__(self, config: JEPAConfig) -> None:
        super().__init__(config)
        self.encoder = ENCODERS[config.encoder](config.size, config.latent, config.encoder_width)
        self.predictor = Predictor(config)
        self.register_buffer("picture_mean", torch.zeros(config.size, config.size, 3))
        self.register_buffer("picture_scale", torch.ones(()))
        self.register_buffer("state_mean", torch.zeros(config.state))
        self.register_buffer("state_std", torch.ones(config.state))
        self.register_buffer("delta_scale", torch.ones(config.state))
        self.encoder.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    picture_mean: Tensor
    """Mean of the training images, in [0, 1]; it is subtracted before encoding."""
    picture_scale: Tensor
    """Factor applied to the difference."""
    state_mean: Tensor
    state_std: Tensor
    delta_scale: Tensor
    """Standard deviation of one model step's change, in state units."""

    @property
    def state_shape(self) -> tuple[int, ...]:
        """`(latent + proprioception,)`."""
        return (self.config.state,)

    @property
    def history(self) -> int:
        """Number of states and actions that a step sees."""
        return self.config.history

    def embed(self, pixels: UInt8[Tensor, "n size size 3"]) -> Float[Tensor, "n latent"]:
        """Latents from the encoder, before normalisation."""
        # NHWC bytes viewed as NCHW are channels_last already, the layout in which convolutions are fast on a CPU.
        seen = (pixels.to(self.dtype) / 255.0 - self.picture_mean) * self.picture_scale
        return self.encoder(seen.permute(0, 3, 1, 2))

    def normalise(
        self, latents: Float[Tensor, "n latent"], proprioception: Float[Tensor, "n feature"]
    ) -> Float[Tensor, "n state"]:
        """States from latents and proprioception."""
        features = proprioception[:, : self.config.proprioception].to(latents)
        return (torch.cat([latents, features], 1) - self.state_mean) / self.state_std

    def encode(self, observation: PixelObservation) -> Float[Tensor, "n state"]:
        """States of images. Raises UserError for images of another size or too little proprioception."""
        size = self.config.size
        shape = tuple(observation.pixels.shape[1:])
        require(
            shape == (size, size, 3), f"images of shape {shape}: the model takes {size} x {size} px with three colour channels."
        )
        features = observation.proprioception.shape[1]
        wanted = self.config.proprioception
        require(features >= wanted, f"{features} proprioception features: the model takes {wanted}.")
        return self.normalise(self.embed(observation.pixels), observation.proprioception)

    def calibrate(self, states: Float[Tensor, "trajectories time state"]) -> Float[Tensor, "trajectories time state"]:
        """Set the normalisation from these states, and return them in the new normalisation.

        All features of the latent share one scale, so that directions with little variation stay small.
        """
        raw = states * self.state_std + self.state_mean
        block, latent = self.config.action_block, self.config.latent
        std, change = raw.std((0, 1)), (raw[:, block:] - raw[:, :-block]).std((0, 1))
        std[:latent] = (std[:latent].pow(4).sum() / std[:latent].square().sum()).sqrt()
        usual = change / std
        usual[:latent] = usual[:latent].clamp_min(0.1 * usual[:latent].max())
        self.state_mean.copy_(raw.mean((0, 1)))
        self.state_std.copy_(std.clamp_min(1e-6))
        self.delta_scale.copy_(usual.clamp_min(1e-6))
        return (raw - self.state_mean) / self.state_std

    def delta(self, states: Float[Tensor, "n h state"], actions: Float[Tensor, "n h action"]) -> Float[Tensor, "n state"]:
        """f, one step's change in units of `delta_scale` (the training target's natural scale)."""
        if self.config.differences and self.history > 1:
            states = torch.cat([states[:, 1:].sub(states[:, :-1]) / self.delta_scale, states[:, -1:]], 1)
        return self.predictor(states, actions)

    def step(self, states: Float[Tensor, "n h state"], actions: Float[Tensor, "n h action"]) -> Float[Tensor, "n state"]:
        """The next states."""
        return torch.addcmul(states[:, -1], self.delta_scale, self.delta(states, actions))
