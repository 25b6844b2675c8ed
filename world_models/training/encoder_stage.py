"""First stage of pixel training: the encoder, on images, with a predictor that is unrolled a few steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from world_models.errors import UnknownNameError, require
from world_models.models.jepa import JEPA
from world_models.time_windows import windows
from world_models.training.frames import PictureData
from world_models.training.loop import LoopSettings, Stage
from world_models.training.regularisers import REGULARISERS
from world_models.training.windows import PictureWindows, picture_windows

CONTRAST = 0.25
"""Standard deviation of the encoder's input: moving parts are small, so their own contrast is far higher."""
INVERSE_GAIN = 10.0
"""Factor on changes of latents, which are small compared with latents, before actions are predicted from them."""
LABELS = ("none", "proprioception", "observation")
"""Labels that an auxiliary head may be trained on."""


@dataclass(frozen=True)
class EncoderSettings(LoopSettings):
    """Settings of encoder training. Raises UserError and UnknownNameError for invalid values."""

    unroll: int = 2
    """Model steps for which the predictor is unrolled in the loss."""
    regulariser: str = "vicreg"
    """Name in `world_models.training.regularisers.REGULARISERS`."""
    regulariser_weight: float = 1.0
    inverse_weight: float = 1.0
    """Weight of the inverse loss: predicting the action from two neighbouring latents (actions are not labels)."""
    labels: str = "none"
    """One of `LABELS`: target that a head predicts from a window of latents during encoder training."""
    label_weight: float = 1.0
    label_width: int = 128
    """Width of that head's hidden layer; 0 for a linear head, so that a linear probe can predict the labels from latents."""
    half_precision: bool = False
    """Whether to train with bfloat16 convolutions, which are faster on processors that support them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.unroll >= 1, f"unroll {self.unroll} must be >= 1.")
        require(self.label_width >= 0, f"label_width {self.label_width} must be >= 0.")
        if self.regulariser not in REGULARISERS:
            raise UnknownNameError("regulariser", self.regulariser, REGULARISERS)
        if self.labels not in LABELS:
            raise UnknownNameError("labels", self.labels, LABELS)


class EncoderStage(nn.Module):
    """The model and the auxiliary heads, which are dropped after the stage."""

    def __init__(self, model: JEPA, frames: PictureData, settings: EncoderSettings) -> None:
        super().__init__()
        self.model, self._frames, self._settings = model, frames, settings
        config = model.config
        labels = {"none": 0, "proprioception": frames.proprioception.shape[2], "observation": frames.observations.shape[2]}
        label_size = labels[settings.labels]
        moved = config.action_dim * config.action_block
        self.inverse_linear = nn.Linear(config.latent, moved)
        self.inverse = _head(2 * config.latent, moved)
        self.labels = _head(config.history * config.latent, label_size, settings.label_width) if label_size else None
        source = frames.proprioception if settings.labels == "proprioception" else frames.observations
        self.register_buffer("label_mean", torch.from_numpy(source.mean((0, 1))))
        self.register_buffer("label_std", torch.from_numpy(source.std((0, 1))).clamp_min(1e-6))
        pictures = frames.pixels(np.linspace(0, frames.count - 1, 512).astype(int)).float() / 255.0
        model.picture_mean.copy_(pictures.mean(0))
        model.picture_scale.copy_(CONTRAST / (pictures - model.picture_mean).std().clamp_min(1e-3))
        if not config.proprioception:
            return
        proprioception = torch.from_numpy(frames.proprioception.copy())[..., : config.proprioception]
        model.state_mean[config.latent :] = proprioception.mean((0, 1))
        model.state_std[config.latent :] = proprioception.std((0, 1)).clamp_min(1e-6)

    label_mean: Tensor
    label_std: Tensor

    def stage(self, about: str) -> Stage:
        """The stage for the training loop."""
        model, settings = self.model, self._settings
        times = model.history + settings.unroll

        def make(step: int) -> PictureWindows:
            return picture_windows(self._frames, model.config.action_block, times, settings.batch_size, settings.seed, step)

        return Stage("encoder", self, make, self.loss, settings, about)

    def loss(self, batch: PictureWindows, generator: torch.Generator) -> Float[Tensor, ""]:
        """Sum of prediction error (in units of `delta_scale`), regulariser, inverse loss and label error."""
        model, settings = self.model, self._settings
        device = model.device
        actions = batch.actions.to(device)
        pixels = batch.pixels.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.half_precision):
            latents = model.embed(pixels.flatten(0, 1))
        latents = latents.float()
        proprioception = batch.proprioception.flatten(0, 1).to(device)
        states = model.normalise(latents, proprioception).unflatten(0, pixels.shape[:2])
        latents = latents.unflatten(0, pixels.shape[:2])
        self._follow_scale(states.detach())
        total = self._prediction_error(states, actions)
        regular = REGULARISERS[settings.regulariser]
        total = total + settings.regulariser_weight * regular(latents[:, 0], generator)
        total = total + settings.inverse_weight * self._inverse_error(latents, actions)
        if self.labels is not None:
            total = total + settings.label_weight * self._label_error(batch, latents)
        return total

    def _prediction_error(
        self, states: Float[Tensor, "batch time state"], actions: Float[Tensor, "batch time_minus_one action"]
    ) -> Float[Tensor, ""]:
        h = self.model.history
        window, errors = states[:, :h], []
        for t in range(h, states.shape[1]):
            following = self.model.step(window, actions[:, t - h : t])
            errors.append((following - states[:, t]) / self.model.delta_scale)
            window = torch.cat([window[:, 1:], following.unsqueeze(1)], 1)
        error = torch.stack(errors)
        return functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.5)

    def _inverse_error(
        self, latents: Float[Tensor, "batch time latent"], actions: Float[Tensor, "batch time_minus_one action"]
    ) -> Float[Tensor, ""]:
        total = latents.new_zeros(())
        for gap in sorted({1, actions.shape[1]}):
            change = (latents[:, gap:] - latents[:, :-gap]) / gap * INVERSE_GAIN
            read = self.inverse_linear(change) + self.inverse(torch.cat([change, latents[:, :-gap]], 2))
            taken = actions.unfold(1, gap, 1).mean(3)
            total = total + (read - taken).square().mean() / taken.var().clamp_min(1e-3)
        return total

    def _label_error(self, batch: PictureWindows, latents: Float[Tensor, "batch time latent"]) -> Float[Tensor, ""]:
        assert self.labels is not None
        source = batch.proprioception if self._settings.labels == "proprioception" else batch.observations
        h = self.model.history
        wanted = (source[:, h - 1 :].to(latents) - self.label_mean) / self.label_std
        return (self.labels(windows(latents, h).flatten(2)) - wanted).square().mean()

    @torch.no_grad()
    def _follow_scale(self, states: Float[Tensor, "batch time state"]) -> None:
        change = states.diff(dim=1).std((0, 1)).clamp_min(1e-4)
        self.model.delta_scale.lerp_(change, 0.05)


def _head(features: int, out: int, width: int = 128) -> nn.Sequential:
    if width == 0:
        return nn.Sequential(nn.Linear(features, out))
    return nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, out))


def about_labels(settings: EncoderSettings) -> str:
    """Card entry for the labels that the encoder was trained on."""
    return settings.labels if settings.labels in LABELS[1:] and settings.label_weight else "none"
