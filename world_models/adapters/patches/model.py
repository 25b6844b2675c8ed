"""A world model over DINOv2 patch tokens: DINO-WM's and jepa-wms', which differ in their predictor and a few sizes.

A state is a matrix [patches, visual + body]: each patch's token, followed by the embedded proprioception (`body` in the names
of fields and tensors), which is repeated in every patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from world_models.adapters.patches.dinov2 import DinoConfig, DinoV2
from world_models.adapters.patches.predictors import CausalViT, ModulatedViT
from world_models.adapters.readout import take_readout
from world_models.base import PixelObservation
from world_models.errors import UnknownNameError, UserError, require
from world_models.models.network import Network
from world_models.models.rows import Linear, linear
from world_models.parts import Card, Parts, Tensors, model_config
from world_models.sensors import Sensors

PREDICTORS = ("causal-vit", "modulated-vit")
"""Predictors: DINO-WM's and jepa-wms'."""

LARGEST = 65_536
"""Upper bound on any size of any such model."""


@dataclass(frozen=True)
class PatchConfig:
    """Configuration of a patch model. Raises UserError for an unknown predictor or a size out of range."""

    action_dim: int
    action_block: int
    predictor: str
    """One of `PREDICTORS`."""
    history: int
    """Number of frames that a step sees."""
    frames: int
    """Number of frames that the predictor has positions for."""
    side: int
    """Number of patches along an image's side."""
    depth: int
    heads: int
    hidden: int
    head_dim: int = 64
    """Width of a head of the causal ViT; the modulated ViT's heads share the tokens' width."""
    width: int = 384
    """Width of the visual part inside the modulated ViT."""
    action_embedding: int = 10
    action_repeats: int = 1
    """Number of concatenated copies of the embedded action in the causal ViT's tokens."""
    proprioception: int = 0
    """Number of proprioception features."""
    body_embedding: int = 0
    body_repeats: int = 1
    """Number of copies of the embedded proprioception in a token."""
    body_weight: float = 1.0
    """Weight of proprioception relative to the image in the goal cost (their `alpha`)."""
    body_everywhere: bool = False
    """Whether the goal cost averages over the proprioception of all patches, or uses only that of the first patch."""
    quarter_turns: int = 0
    """Counter-clockwise rotations of images by 90 degrees, which align them with the training images."""
    picture: int = 224
    """Side of the input images, px."""
    pixel_mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    pixel_std: tuple[float, ...] = (0.5, 0.5, 0.5)
    body_is_observation: bool = False
    """Whether the task's state observation equals its proprioception and can therefore be decoded from the model's states."""
    encoder: DinoConfig = field(default_factory=DinoConfig)

    def __post_init__(self) -> None:
        if self.predictor not in PREDICTORS:
            raise UnknownNameError("predictor", self.predictor, PREDICTORS)
        for name in (
            "action_dim",
            "action_block",
            "history",
            "side",
            "depth",
            "heads",
            "hidden",
            "head_dim",
            "width",
            "picture",
        ):
            _check_size(name, getattr(self, name), 1)
        for name in ("action_embedding", "action_repeats", "body_repeats"):
            _check_size(name, getattr(self, name), 1)
        for name in ("proprioception", "body_embedding", "quarter_turns"):
            _check_size(name, getattr(self, name), 0)
        require(
            1 <= self.history <= self.frames, f"a history of {self.history} does not fit positions of {self.frames} frames."
        )

    @property
    def patches(self) -> int:
        """Number of patches of an image."""
        return self.side**2

    @property
    def proprioception_width(self) -> int:
        """Number of a token's features that hold proprioception."""
        return self.body_embedding * self.body_repeats

    @staticmethod
    def of(config: Mapping[str, Any]) -> PatchConfig:
        """Configuration from a model card; raises UserError for missing or unknown entries."""
        try:
            encoder = DinoConfig(**config["encoder"])
            means = {key: tuple(config[key]) for key in ("pixel_mean", "pixel_std")}
            return PatchConfig(**{**config, **means, "encoder": encoder})
        except (TypeError, KeyError) as error:
            raise UserError(f"the card's sizes are not those of a patch model ({error}).") from error

    def as_card(self) -> dict[str, object]:
        """The entry of a model card."""
        return asdict(self)


def _check_size(name: str, value: object, least: int) -> None:
    sound = isinstance(value, int) and not isinstance(value, bool) and least <= value <= LARGEST
    require(sound, f"size {name} {value!r} of a patch model is not a whole number between {least} and {LARGEST}.")


class Units(nn.Module):
    """A fixed affine map from a task's units to those of a model's training data."""

    weight: Tensor
    bias: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.eye(size))
        self.register_buffer("bias", torch.zeros(size))

    def forward(self, values: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        """Values in the model's units."""
        return linear(values, self.weight, self.bias)


class PatchModel(Network[PatchConfig]):
    """A `WorldModel` over patch tokens, which takes a `PixelObservation`."""

    def __init__(self, config: PatchConfig) -> None:
        super().__init__(config)
        self.encoder = DinoV2(config.encoder)
        visual = config.encoder.width
        if config.predictor == "causal-vit":
            width = visual + config.proprioception_width + config.action_embedding * config.action_repeats
            size = (config.depth, config.heads, config.head_dim, config.hidden, config.frames, config.patches)
            self.predictor = CausalViT(width, *size)
        else:
            size = (config.depth, config.heads, config.hidden, config.side)
            self.predictor = ModulatedViT(visual, config.width, config.proprioception_width, *size)
        self.action_units = Units(config.action_dim)
        self.action_encoder = Linear(config.action_dim * config.action_block, config.action_embedding)
        self.body_units = Units(config.proprioception) if config.proprioception else None
        self.body_encoder = Linear(config.proprioception, config.body_embedding) if config.proprioception else None

    @property
    def state_shape(self) -> tuple[int, ...]:
        """`(patches, features of a patch)`."""
        return self.config.patches, self.config.encoder.width + self.config.proprioception_width

    @property
    def history(self) -> int:
        """Number of frames that a step sees at most."""
        return self.config.history

    takes_shorter_windows = True
    """The frames of a window of k have the first k positions, as in its authors' rollouts."""

    def encode(self, observation: PixelObservation) -> Float[Tensor, "batch patches state"]:
        """Patch tokens of images of any size, each followed by the embedded proprioception.

        Raises UserError if the observation has another number of proprioception features than the model takes.
        """
        tokens = self.encoder(self._prepared(observation.pixels))
        if self.body_encoder is None or self.body_units is None:
            return tokens
        given_features, taken = observation.proprioception.shape[1], self.config.proprioception
        require(
            given_features == taken,
            f"the model takes {taken} proprioception features, not {given_features}: choose the task that it was trained on.",
        )
        proprioception = self.body_encoder(self.body_units(observation.proprioception.to(self.dtype)))
        proprioception = proprioception.repeat(1, self.config.body_repeats).unsqueeze(1).expand(-1, tokens.shape[1], -1)
        return torch.cat([tokens, proprioception], -1)

    def action_statistics(self) -> tuple[Float[Tensor, " axis"], Float[Tensor, " axis"]]:
        """Mean and deviation of the environment actions that the model was trained on, in our units."""
        weight, bias = self.action_units.weight.double(), self.action_units.bias.double()
        # Axes may be swapped and turned round, but not mixed: each of ours is scaled by one of theirs.
        return torch.linalg.solve(weight, -bias).to(self.dtype), 1 / weight.abs().sum(0).to(self.dtype)

    def step(
        self, states: Float[Tensor, "n h patches state"], actions: Float[Tensor, "n h action"]
    ) -> Float[Tensor, "n patches state"]:
        """The next state of each window."""
        own = self.action_units(actions.unflatten(-1, (self.config.action_block, self.config.action_dim)))
        embedded = self.action_encoder(own.flatten(-2))
        return self.predictor(states, embedded.repeat(1, 1, self.config.action_repeats))

    def decode(self, states: Float[Tensor, "n patches state"]) -> Float[Tensor, "n observation"]:
        """State observations in the task's units, decoded from the embedded proprioception; only for `body_is_observation`.

        Applies the least-squares inverse of the proprioception encoder to the mean of its copies.
        """
        assert self.body_encoder is not None
        assert self.body_units is not None
        first = self.config.encoder.width
        copies = states[..., first:].unflatten(-1, (self.config.body_repeats, -1)).mean((1, 2))
        weight = self.body_encoder.weight @ self.body_units.weight
        bias = self.body_encoder.bias + self.body_encoder.weight @ self.body_units.bias
        return (copies - bias) @ torch.linalg.pinv(weight).T

    def _prepared(self, pixels: UInt8[Tensor, "batch height width 3"]) -> Float[Tensor, "batch 3 side side"]:
        """Encoder inputs: images rotated, normalised, and resized to the input size and then to that of the patches."""
        pictures = pixels.to(self.dtype).permute(0, 3, 1, 2).rot90(self.config.quarter_turns, (2, 3)) / 255.0
        mean, deviation = (
            pictures.new_tensor(value).view(3, 1, 1) for value in (self.config.pixel_mean, self.config.pixel_std)
        )
        pictures = (pictures - mean) / deviation
        for side in (self.config.picture, self.config.side * self.config.encoder.patch):
            if pictures.shape[-2:] != (side, side):
                pictures = F.interpolate(pictures, size=(side, side), mode="bilinear", antialias=True)
        return pictures


@dataclass(frozen=True)
class PatchGoalCost:
    """Goal cost of both papers: mean squared visual difference plus `proprioception_weight` times that of proprioception.

    Every patch holds a copy of the proprioception: `all_patches` says whether the mean runs over all copies (jepa-wms) or only
    the first patch's (DINO-WM).
    """

    visual: int
    """Number of visual features of a token."""
    proprioception: int
    """Number of proprioception features that follow them."""
    proprioception_weight: float
    all_patches: bool

    def __call__(
        self, states: Float[Tensor, "n patches state"], goals: Float[Tensor, "n patches state"]
    ) -> Float[Tensor, " n"]:
        """Cost of each state against its goal, `[n]`."""
        return ((states - goals).square() * self.feature_weights(goals)).flatten(1).mean(1)

    def feature_weights(self, goals: Float[Tensor, "batch patches state"]) -> Float[Tensor, "patches state"]:
        """The weight of each feature's square in a mean over all features."""
        weights = goals.new_zeros(goals.shape[1:])
        patches = weights.shape[0]
        weights[:, : self.visual] = weights.numel() / (patches * self.visual)
        if self.proprioception:
            rows = patches if self.all_patches else 1
            weights[:rows, self.visual : self.visual + self.proprioception] = (
                self.proprioception_weight * weights.numel() / (rows * self.proprioception)
            )
        return weights


def goal_cost_of(config: PatchConfig) -> PatchGoalCost:
    """The goal cost that a model's authors use."""
    return PatchGoalCost(config.encoder.width, config.body_embedding, config.body_weight, config.body_everywhere)


def check_tensors(config: PatchConfig, tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The tensors of a model with these sizes, without any others; raises UserError if one is missing or has another shape."""
    with torch.device("meta"):
        wanted = {name: value.shape for name, value in PatchModel(config).state_dict().items()}
    for name, shape in wanted.items():
        found = tensors[name].shape if name in tensors else None
        if found != shape:
            raise UserError(
                f"{source}: {name} should be {tuple(shape)} and is {'missing' if found is None else tuple(found)}: "
                "the file is of another architecture, or damaged."
            )
    return {name: tensors[name] for name in wanted}


def parts(card: Card, tensors: Tensors) -> Parts:
    """Model, goal cost and readout of a checkpoint in format `dino-wm/1` or `jepa-wms/1`."""
    config, decode = PatchConfig.of(model_config(card)), take_readout(tensors)
    with torch.device("meta"):  # skips initialising weights that the file replaces
        model = PatchModel(config)
    model.load_state_dict(tensors, assign=True)
    if decode is None and config.body_is_observation:
        decode = model.decode
    return Parts(model, {"latent": goal_cost_of(config)}, "latent", decode, Sensors.of(card))
