"""The residual MLP's step for frozen weights: the same function with a hand-written derivative, for planning speed.

Planning differentiates the step to actions and states, never to weights. Knowing that, the forward pass works in place and
keeps only what the backward pass reads, which spares much of the memory traffic and bookkeeping around the matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import silu

_EPS = 1e-5
FAST_ACTIVATIONS = ("relu", "silu")
"""Activations that the fast path knows."""

_backward_relu = torch.ops.aten.threshold_backward
_backward_silu = torch.ops.aten.silu_backward
_backward_norm = torch.ops.aten.native_layer_norm_backward


@dataclass(frozen=True)
class FrozenWeights:
    """What a step of `ResidualMLP` reads; `blocks` are (weight, bias) pairs, `activation` one of `FAST_ACTIVATIONS`."""

    state_in: Tensor
    action_in: Tensor
    bias_in: Tensor
    blocks: tuple[tuple[Tensor, Tensor], ...]
    out: Tensor
    bias_out: Tensor
    delta_scale: Tensor
    layer_norm: bool
    activation: str

    @property
    def width(self) -> int:
        """Width of the hidden layers."""
        return self.state_in.shape[0]


@dataclass(frozen=True)
class _Block:
    """What a residual block's backward pass reads: its input, that input's LayerNorm statistics, what the activation left."""

    hidden: Tensor
    mean: Tensor
    rstd: Tensor
    left: Tensor


def _forward(
    weights: FrozenWeights, state: Float[Tensor, "n observation"], action: Float[Tensor, "n action"]
) -> tuple[Float[Tensor, "n observation"], list[_Block], Float[Tensor, "n width"]]:
    """The next state, what each block's backward pass needs, and what the input layer's activation left."""
    # Biases are added behind the products: addmm would first copy the bias into fresh memory, row by row.
    into = torch.cat([weights.state_in.t(), weights.action_in.t()])
    hidden, first = _activate(weights, torch.mm(torch.cat([state, action], 1), into).add_(weights.bias_in))
    kept = []
    for weight, bias in weights.blocks:
        inner, mean, rstd = hidden, hidden, hidden
        if weights.layer_norm:
            inner, mean, rstd = torch.native_layer_norm(hidden, [weights.width], None, None, _EPS)
        active, left = _activate(weights, torch.mm(inner, weight.t()).add_(bias))
        kept.append(_Block(hidden, mean, rstd, left))
        hidden = hidden + active
    delta = _narrow(hidden, weights.out).add_(weights.bias_out)
    return torch.addcmul(state, weights.delta_scale, delta), kept, first


def _activate(weights: FrozenWeights, pre: Float[Tensor, "n width"]) -> tuple[Tensor, Tensor]:
    """The activation of `pre`, and what its derivative reads: the output of ReLU, the input of SiLU."""
    if weights.activation == "relu":
        active = pre.relu_()
        return active, active
    return silu(pre), pre


def _backward_activation(weights: FrozenWeights, gradient: Tensor, left: Tensor) -> Float[Tensor, "n width"]:
    """The cotangent of the activation's input."""
    return _backward_relu(gradient, left, 0) if weights.activation == "relu" else _backward_silu(gradient, left)


def _narrow(wide: Float[Tensor, "n width"], weight: Float[Tensor, "few width"]) -> Float[Tensor, "n few"]:
    """wide @ weight^T for a weight of few rows: the transposed product takes half the time (or less) on a CPU."""
    return torch.mm(weight, wide.t()).t()


def _input_cotangent(
    weights: FrozenWeights, kept: list[_Block], first: Float[Tensor, "n width"], cotangent: Float[Tensor, "n observation"]
) -> Float[Tensor, "n width"]:
    """The cotangent of the input layer's pre-activation."""
    gradient = (cotangent * weights.delta_scale) @ weights.out
    for (weight, _), block in zip(reversed(weights.blocks), reversed(kept), strict=True):
        inner = _backward_activation(weights, gradient, block.left) @ weight
        if weights.layer_norm:
            keep = [True, False, False]
            inner = _backward_norm(inner, block.hidden, [weights.width], block.mean, block.rstd, None, None, keep)[0]
        gradient = gradient.add_(inner)
    return _backward_activation(weights, gradient, first)


class _FrozenStep(Function):
    """`step` as one autograd node, differentiable once; torch refuses a second derivative."""

    @staticmethod
    def forward(ctx: Any, state: Tensor, action: Tensor, weights: FrozenWeights) -> Tensor:
        following, ctx.kept, ctx.first = _forward(weights, state, action)
        ctx.weights = weights
        return following

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *cotangents: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None]:
        (cotangent,) = cotangents
        inner = _input_cotangent(ctx.weights, ctx.kept, ctx.first, cotangent)
        to_state = torch.addmm(cotangent, inner, ctx.weights.state_in) if ctx.needs_input_grad[0] else None
        to_action = _narrow(inner, ctx.weights.action_in.t().contiguous()) if ctx.needs_input_grad[1] else None
        return to_state, to_action, None


def frozen_step(
    weights: FrozenWeights, state: Float[Tensor, "n observation"], action: Float[Tensor, "n action"]
) -> Float[Tensor, "n observation"]:
    """The next states, differentiable once in state and action; raises RuntimeError where a second derivative is asked for."""
    return _FrozenStep.apply(state, action, weights)  # pyright: ignore[reportReturnType]
