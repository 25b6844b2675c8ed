"""A linear readout of the task's state observation from a model's states, for success in the model and for images.

It is fitted by ridge regression on simulator states when a checkpoint is imported. It is not part of the model, and planners do
not use it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from world_models.errors import require

WEIGHT, BIAS = "readout.weight", "readout.bias"
"""Tensor names of a checkpoint's readout."""


class LinearReadout(nn.Module):
    """The map observation = weight @ state + bias, over the flattened state."""

    def __init__(self, weight: Float[Tensor, "observation state"], bias: Float[Tensor, " observation"]) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    weight: Tensor
    bias: Tensor

    def forward(self, states: Float[Tensor, "n *state"]) -> Float[Tensor, "n observation"]:
        """State observations from model states."""
        return states.flatten(1) @ self.weight.mT + self.bias


def take_readout(tensors: dict[str, Tensor]) -> LinearReadout | None:
    """The readout among a checkpoint's tensors, which are removed from the mapping; None if there is none."""
    if WEIGHT not in tensors:
        return None
    return LinearReadout(tensors.pop(WEIGHT), tensors.pop(BIAS))


def ridge(
    states: Float[Tensor, "n state"], observations: Float[Tensor, "n observation"], penalty: float
) -> dict[str, Float[Tensor, "..."]]:
    """Weight and bias of the readout that minimises mean squared error + penalty * |weight|^2, with standardised features.

    Raises UserError for fewer than two states.
    """
    require(len(states) >= 2, f"{len(states)} states are too few for a readout: give at least 2.")
    x, y = states.double(), observations.double()
    centre, spread = x.mean(0), x.std(0).clamp_min(1e-9)
    z = (x - centre) / spread
    gram = z.mT @ z / len(z) + penalty * torch.eye(z.shape[1], dtype=z.dtype)
    weight = torch.linalg.solve(gram, z.mT @ (y - y.mean(0)) / len(z)).mT / spread
    return {WEIGHT: weight.float(), BIAS: (y.mean(0) - weight @ centre).float()}
