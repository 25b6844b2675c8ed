"""Parts of networks whose rows are the same bits however many there are.

On CPUs, torch's matrix products (MKL's, on x86-64) take other code, which adds up in another order, for fewer than four rows
than for more, and with 10 inputs for every other row. Maps are therefore computed with zeros beside few rows and such inputs.
torch's SiLU takes other code for the numbers that are left when all whole vectors are done, wherever these belong.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

LARGEST = 80.0
"""Beyond this, exp is cut off, before it leaves float32."""
LEAST = 8
"""Rows of a matrix product on a CPU, at least."""
ALIGNED = 4
"""A CPU's matrix products have a multiple of so many inputs."""


def linear(
    x: Float[Tensor, "*batch inputs"], weight: Float[Tensor, "outputs inputs"], bias: Float[Tensor, " outputs"] | None = None
) -> Float[Tensor, "*batch outputs"]:
    """`torch.nn.functional.linear`; on a CPU with zeros beside few rows and beside inputs that fill no whole vectors."""
    rows, spare = x.shape[:-1].numel(), -x.shape[-1] % ALIGNED
    if x.device.type != "cpu" or (rows >= LEAST and not spare):
        return functional.linear(x, weight, bias)
    padded = functional.pad(x.reshape(rows, x.shape[-1]), (0, spare, 0, max(0, LEAST - rows)))
    found = functional.linear(padded, functional.pad(weight, (0, spare)) if spare else weight, bias)
    return found[:rows].reshape(*x.shape[:-1], len(weight))


class Linear(nn.Linear):
    """`torch.nn.Linear` by `linear`, with the same tensors under the same names."""

    def forward(self, input: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Outputs of rows."""
        return linear(input, self.weight, self.bias)


class SiLU(nn.Module):
    """`torch.nn.SiLU`, by an exponential that torch computes alike at every place of a tensor."""

    def forward(self, x: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        """Each number times its logistic function."""
        return x / (1 + (-x).clamp(max=LARGEST).exp())
