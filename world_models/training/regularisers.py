"""Regularisers that keep latents from collapsing to a point: VICReg's variance and covariance terms, and SIGReg.

VICReg after Bardes, Ponce and LeCun (arXiv 2105.04906); SIGReg after Balestriero and LeCun, "LeJEPA" (arXiv 2511.08544): random
one-dimensional projections of the latents are compared with a standard normal by the Epps-Pulley statistic.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Regulariser = Callable[[Float[Tensor, "n latent"], torch.Generator], Float[Tensor, ""]]
"""Loss of latents, given a generator for random draws; small if latents fill their space."""


def vicreg(latents: Float[Tensor, "n latent"], generator: torch.Generator) -> Float[Tensor, ""]:
    """Mean shortfall of the standard deviations below 1, plus mean squared covariance between features."""
    centred = latents - latents.mean(0)
    variance = centred.square().sum(0) / (len(latents) - 1)
    shortfall = (1.0 - (variance + 1e-4).sqrt()).clamp_min(0.0).mean()
    covariance = centred.T @ centred / (len(latents) - 1)
    between = covariance.square().sum() - covariance.diagonal().square().sum()
    return shortfall + between / latents.shape[1] / 25.0


SLICES = 64
"""Number of SIGReg's random directions."""
KNOTS = 17
"""Number of points of the quadrature over frequencies 0..KNOT_LIMIT."""
KNOT_LIMIT = 3.0


def sigreg(latents: Float[Tensor, "n latent"], generator: torch.Generator) -> Float[Tensor, ""]:
    """Mean over directions of the weighted squared difference between the empirical characteristic function and a normal's."""
    directions = torch.randn(latents.shape[1], SLICES, generator=generator).to(latents)
    projected = latents @ (directions / directions.norm(dim=0))
    frequencies = torch.linspace(0.0, KNOT_LIMIT, KNOTS).to(latents)
    angles = projected.unsqueeze(-1) * frequencies
    normal = torch.exp(-frequencies.square() / 2)
    difference = (angles.cos().mean(0) - normal).square() + angles.sin().mean(0).square()
    return torch.trapezoid(difference * normal, frequencies, dim=-1).mean()


REGULARISERS: dict[str, Regulariser] = {"vicreg": vicreg, "sigreg": sigreg}
"""Regularisers by name."""
