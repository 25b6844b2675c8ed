"""Alignment of latents with labels: the outputs of a linear probe on the encoder become the encoder's latents.

Without it each latent axis mixes fast motions with slow ones, and the loss of a predictor, which is measured axis by axis in
units of a typical step, sees only the fast ones: on Push-T the agent, not the block.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from world_models.errors import require
from world_models.models.jepa import JEPA, Predictor

READABLE = 0.5
"""Least fraction of a label's variance that latents must explain for it to get an axis (velocities fail, from one image)."""


@torch.no_grad()
def align(
    model: JEPA,
    latents: Float[Tensor, "trajectories time latent"],
    labels: Float[Tensor, "trajectories time label"],
) -> Float[Tensor, "trajectories time latent"]:
    """Change the encoder so that its first latents predict the normalised labels linearly and the others are 0.

    Resets the predictor. `latents` are those of all frames; returns them as the changed encoder gives them. Raises UserError
    for fewer latents than labels.
    """
    size, count = model.config.latent, labels.shape[2]
    require(size >= count, f"latent {size} is less than the {count} labels that it is aligned with: choose {count} or more.")
    matrix, offset = _readout(latents.flatten(0, 1), labels.flatten(0, 1))
    rows = torch.nn.functional.pad(matrix, (0, 0, 0, size - count))
    shift = torch.nn.functional.pad(offset, (0, size - count))
    for number, layer in enumerate(model.encoder.outputs()):  # pyright: ignore[reportCallIssue]
        layer.weight.copy_(rows @ layer.weight)
        layer.bias.copy_(rows @ layer.bias + (shift if number == 0 else 0.0))
    model.predictor = Predictor(model.config).to(latents.device)
    return latents @ rows.T + shift


def _readout(
    latents: Float[Tensor, "n latent"], labels: Float[Tensor, "n label"]
) -> tuple[Float[Tensor, "label latent"], Float[Tensor, " label"]]:
    """Least-squares map from latents to normalised labels; zero for labels that latents do not explain."""
    x, y = latents.double(), labels.double()
    centre = x.mean(0)
    x, y = x - centre, (y - y.mean(0)) / y.std(0).clamp_min(1e-6)
    ridge = 1e-7 * x.square().sum() * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
    explained_variance = 1 - (y - x @ weights).square().mean(0)
    weights = weights * (explained_variance >= READABLE)
    return weights.T.to(latents), -(centre @ weights).to(latents)
