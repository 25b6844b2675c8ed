"""A linear readout of the task's state observation from a model's states: success in the model, and pictures.

Fitted by ridge regression on simulator states when a checkpoint is imported; no part of the model itself, and planners that
do not ask for it never see it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from world_models.errors import require

WEIGHT, BIAS = "readout.weight", "readout.bias"
"""Where a checkpoint keeps its readout."""


class LinearReadout(nn.Module):
    """observation = weight @ state + bias, over the flattened state."""

    def __init__(self, weight: Float[Tensor, "observation state"], bias: Float[Tensor, " observation"]) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    weight: Tensor
    bias: Tensor

    def forward(self, states: Float[Tensor, "n *state"]) -> Float[Tensor, "n observation"]:
        """State observations read off model states."""
        return states.flatten(1) @ self.weight.mT + self.bias


def take_readout(tensors: dict[str, Tensor]) -> LinearReadout | None:
    """The readout among a checkpoint's tensors, taken out of them; None where it has none."""
    if WEIGHT not in tensors:
        return None
    return LinearReadout(tensors.pop(WEIGHT), tensors.pop(BIAS))


def ridge(
    states: Float[Tensor, "n state"], observations: Float[Tensor, "n observation"], penalty: float
) -> dict[str, Float[Tensor, "..."]]:
    """Weight and bias of the readout that minimises mean squared error + penalty * |weight|^2, features standardised.

    Raises UserError for fewer than two states.
    """
    require(len(states) >= 2, f"{len(states)} states are too few for a readout.")
    x, y = states.double(), observations.double()
    centre, spread = x.mean(0), x.std(0).clamp_min(1e-9)
    z = (x - centre) / spread
    gram = z.mT @ z / len(z) + penalty * torch.eye(z.shape[1], dtype=z.dtype)
    weight = torch.linalg.solve(gram, z.mT @ (y - y.mean(0)) / len(z)).mT / spread
    return {WEIGHT: weight.float(), BIAS: (y.mean(0) - weight @ centre).float()}
