"""Latents whose axes are named by labels: what a linear probe reads off the encoder becomes what the encoder gives.

Without it each axis mixes quick motions with slow ones, and the loss of a predictor, which is measured axis by axis in units of
a usual step, sees only the quick ones: on Push-T the agent, not the block.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from world_models.errors import require
from world_models.models.jepa import JEPA, Predictor

READABLE = 0.5
"""Labels that latents explain less of than this share of variance (velocities, off one picture) get no axis."""


@torch.no_grad()
def align(
    model: JEPA,
    latents: Float[Tensor, "trajectories time latent"],
    labels: Float[Tensor, "trajectories time label"],
) -> Float[Tensor, "trajectories time latent"]:
    """Make the first latents the normalised labels as linear regression reads them, the others 0; start the predictor afresh.

    `latents` are the encoder's own of all frames; returned as the changed encoder gives them. UserError for fewer latents
    than labels.
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
    """Least squares from latents to normalised labels; zeros for those that latents do not tell."""
    x, y = latents.double(), labels.double()
    centre = x.mean(0)
    x, y = x - centre, (y - y.mean(0)) / y.std(0).clamp_min(1e-6)
    ridge = 1e-7 * x.square().sum() * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
    explained_variance = 1 - (y - x @ weights).square().mean(0)
    weights = weights * (explained_variance >= READABLE)
    return weights.T.to(latents), -(centre @ weights).to(latents)
