"""The residual MLP's step and rollout for frozen weights, with hand-written derivatives for fast planning.

Planning differentiates the model with respect to actions and states, never to weights. So the forward pass works in place and
keeps only what the backward pass reads, and a rollout of T steps is one autograd node instead of a chain of them.

There are two implementations: torch operations, in any floating-point type on any device; and, where the precision allows it
(`world_models.precision`) and the processor has a unit that it supports, a kernel in C (`world_models.native`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import silu

from world_models.native.build import NativeUnavailableError
from world_models.native.mlp import Layers, NativeMLP, fits
from world_models.precision import current_precision, without_autocast

_EPS = 1e-5
FAST_ACTIVATIONS = ("relu", "silu")
"""Activations that the fast path supports."""

_backward_relu = torch.ops.aten.threshold_backward
_backward_silu = torch.ops.aten.silu_backward
_backward_norm = torch.ops.aten.native_layer_norm_backward


@dataclass(frozen=True)
class FrozenWeights:
    """Tensors that a step of `ResidualMLP` reads; `blocks` are (weight, bias) pairs, `activation` is in `FAST_ACTIVATIONS`."""

    state_in: Float[Tensor, "width observation"]
    action_in: Float[Tensor, "width action"]
    bias_in: Float[Tensor, " width"]
    blocks: tuple[tuple[Float[Tensor, "width width"], Float[Tensor, " width"]], ...]
    out: Float[Tensor, "observation width"]
    bias_out: Float[Tensor, " observation"]
    delta_scale: Float[Tensor, " observation"]
    layer_norm: bool
    activation: str

    @property
    def width(self) -> int:
        """Width of the hidden layers."""
        return self.state_in.shape[0]

    @property
    def features(self) -> int:
        """Size of a state."""
        return self.state_in.shape[1]

    @cached_property
    def into(self) -> Float[Tensor, "inputs width"]:
        """The input layer's weight for concatenated states and actions."""
        return torch.cat([self.state_in.t(), self.action_in.t()])

    @cached_property
    def action_out(self) -> Float[Tensor, "action width"]:
        """The input layer's weight for actions, laid out for the backward pass."""
        return self.action_in.t().contiguous()

    @cached_property
    def high(self) -> NativeMLP | None:
        """The kernel that keeps at least 16 bits of values and 8 of gradients; None if unavailable."""
        return self._native(3)

    @cached_property
    def medium(self) -> NativeMLP | None:
        """The kernel that keeps at least 8 bits; None if unavailable."""
        return self._native(1)

    @property
    def layers(self) -> Layers:
        """The weights from first to last layer, as the kernel takes them."""
        return Layers(
            weights=(self.into.t(), *(weight for weight, _ in self.blocks), self.out),
            biases=(self.bias_in, *(bias for _, bias in self.blocks), self.bias_out),
            delta_scale=self.delta_scale,
            layer_norm=self.layer_norm,
            activation=self.activation,
        )

    def _native(self, terms: int) -> NativeMLP | None:
        try:
            return NativeMLP(self.layers, terms) if fits(self.layers) else None
        except NativeUnavailableError:
            return None


@dataclass(frozen=True)
class _Block:
    """Tensors for a residual block's backward pass: input, LayerNorm statistics of the input, residue of the activation."""

    hidden: Tensor
    mean: Tensor
    rstd: Tensor
    left: Tensor


@dataclass(frozen=True)
class _Step:
    """Tensors for a step's backward pass: those of its blocks, and the residue of the input layer's activation."""

    blocks: list[_Block]
    first: Tensor


def _forward(
    weights: FrozenWeights, state: Float[Tensor, "n observation"], action: Float[Tensor, "n action"]
) -> tuple[Float[Tensor, "n observation"], _Step]:
    """The next state, and the tensors for the backward pass."""
    # Biases are added after the products: addmm would first copy the bias into new memory, row by row.
    hidden, first = _activate(weights, torch.mm(torch.cat([state, action], 1), weights.into).add_(weights.bias_in))
    kept = []
    for weight, bias in weights.blocks:
        inner, mean, rstd = hidden, hidden, hidden
        if weights.layer_norm:
            inner, mean, rstd = torch.native_layer_norm(hidden, [weights.width], None, None, _EPS)
        active, left = _activate(weights, torch.mm(inner, weight.t()).add_(bias))
        kept.append(_Block(hidden, mean, rstd, left))
        hidden = hidden + active
    delta = _narrow(hidden, weights.out).add_(weights.bias_out)
    return torch.addcmul(state, weights.delta_scale, delta), _Step(kept, first)


def _activate(weights: FrozenWeights, pre: Float[Tensor, "n width"]) -> tuple[Tensor, Tensor]:
    """The activation of `pre`, and the residue that its derivative reads: the output of ReLU, the input of SiLU."""
    if weights.activation == "relu":
        active = pre.relu_()
        return active, active
    return silu(pre), pre


def _backward_activation(weights: FrozenWeights, gradient: Tensor, left: Tensor) -> Float[Tensor, "n width"]:
    """The cotangent of the activation's input."""
    return _backward_relu(gradient, left, 0) if weights.activation == "relu" else _backward_silu(gradient, left)


def _narrow(wide: Float[Tensor, "n width"], weight: Float[Tensor, "few width"]) -> Float[Tensor, "n few"]:
    """wide @ weight^T for a weight with few rows: the transposed product takes at most half the time on a CPU."""
    return torch.mm(weight, wide.t()).t()


def _backward(weights: FrozenWeights, kept: _Step, cotangent: Float[Tensor, "n observation"]) -> Float[Tensor, "n width"]:
    """The cotangent of the input layer's pre-activation."""
    gradient = (cotangent * weights.delta_scale) @ weights.out
    for (weight, _), block in zip(reversed(weights.blocks), reversed(kept.blocks), strict=True):
        inner = _backward_activation(weights, gradient, block.left) @ weight
        if weights.layer_norm:
            keep = [True, False, False]
            inner = _backward_norm(inner, block.hidden, [weights.width], block.mean, block.rstd, None, None, keep)[0]
        gradient = gradient.add_(inner)
    return _backward_activation(weights, gradient, kept.first)


def _unroll(
    weights: FrozenWeights, start: Float[Tensor, "n observation"], actions: Float[Tensor, "n time action"], keep: bool
) -> tuple[Float[Tensor, "n time observation"], list[_Step]]:
    """States s_1..s_T and, with `keep`, the tensors that `_unroll_back` needs."""
    rows = len(start)
    start, actions = _filled(start), _filled(actions)
    states, steps = [start], []
    # Without autocast, whatever the caller has set: it would apply to the forward pass but not to the backward pass.
    with without_autocast(start.device):
        for action in actions.unbind(1):
            following, kept = _forward(weights, states[-1], action)
            states.append(following)
            if keep:
                steps.append(kept)
    return torch.stack(states[1:], 1)[:rows], steps


def _unroll_back(
    weights: FrozenWeights, steps: list[_Step], cotangents: Float[Tensor, "n time observation"], to_start: bool
) -> tuple[Float[Tensor, "n observation"] | None, Float[Tensor, "n time action"]]:
    """The cotangents of start (if requested) and actions from those of the states."""
    rows, cotangents = len(cotangents), _filled(cotangents)
    carry, to_actions = None, []
    with without_autocast(cotangents.device):
        for t in reversed(range(len(steps))):
            cotangent = cotangents[:, t] if carry is None else cotangents[:, t] + carry
            inner = _backward(weights, steps[t], cotangent)
            to_actions.append(_narrow(inner, weights.action_out))
            if t > 0 or to_start:
                carry = torch.addmm(cotangent, inner, weights.state_in)
    to_start_states = carry[:rows] if to_start and carry is not None else None
    return to_start_states, torch.stack(to_actions[::-1], 1)[:rows]


def _filled(tensor: Tensor) -> Tensor:
    """The tensor padded with rows of zeros if its last rows would be rounded differently than in a larger batch.

    Measured (MKL, x86, 1 and 2 threads): with at least 12 rows, in multiples of 4, a row of a product does not depend on the
    other rows.
    """
    rows = len(tensor)
    wanted = max(12, rows + -rows % 4) if tensor.device.type == "cpu" else rows
    return tensor if wanted == rows else torch.cat([tensor, tensor.new_zeros(wanted - rows, *tensor.shape[1:])])


class _TorchRollout(Function):
    """States s_1..s_T as one autograd node of torch operations, differentiable once."""

    @staticmethod
    def forward(ctx: Any, start: Tensor, actions: Tensor, weights: FrozenWeights) -> Tensor:
        states, ctx.kept = _unroll(weights, start, actions, any(ctx.needs_input_grad))
        ctx.weights = weights
        return states

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *cotangents: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None]:
        return *_unroll_back(ctx.weights, ctx.kept, cotangents[0], ctx.needs_input_grad[0]), None


class _NativeRollout(Function):
    """States s_1..s_T as one autograd node that calls the kernel, differentiable once."""

    @staticmethod
    def forward(ctx: Any, start: Tensor, actions: Tensor, native: NativeMLP) -> Tensor:
        states, ctx.kept = native.forward(start, actions, any(ctx.needs_input_grad))
        ctx.native = native
        return states

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *cotangents: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None]:
        return *ctx.native.backward(cotangents[0], ctx.kept, ctx.needs_input_grad[0]), None


def allowed_kernel(weights: FrozenWeights) -> NativeMLP | None:
    """The kernel that the current precision allows; None if unavailable."""
    precision = current_precision()
    if precision == "highest":
        return None
    return weights.high if precision == "high" else weights.medium


def frozen_rollout(
    weights: FrozenWeights, start: Float[Tensor, "n observation"], actions: Float[Tensor, "n time action"]
) -> Float[Tensor, "n time observation"]:
    """States s_1..s_T, differentiable once in start and actions; a second derivative raises RuntimeError.

    Rounds as far as `current_precision` allows if that is faster.
    """
    native = allowed_kernel(weights)
    if native is not None:
        return _NativeRollout.apply(start, actions, native)  # pyright: ignore[reportReturnType]
    return _TorchRollout.apply(start, actions, weights)  # pyright: ignore[reportReturnType]


def frozen_pullback(
    weights: FrozenWeights, start: Float[Tensor, "n observation"], actions: Float[Tensor, "n time action"]
) -> tuple[Float[Tensor, "n time observation"], Callable[[Tensor], Tensor]]:
    """The same states, and their pullback from the states' cotangents to those of the actions, without autograd."""
    native = allowed_kernel(weights)
    with torch.no_grad():
        if native is None:
            states, steps = _unroll(weights, start, actions, keep=True)
            return states, torch.no_grad()(lambda cotangents: _unroll_back(weights, steps, cotangents, to_start=False)[1])
        states, kept = native.forward(start, actions, keep=True)
        return states, lambda cotangents: native.backward(cotangents, kept, to_start=False)[1]


def frozen_vjp(
    weights: FrozenWeights, start: Float[Tensor, "n observation"], actions: Float[Tensor, "n time action"]
) -> tuple[Float[Tensor, "n time observation"], Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Like `frozen_pullback`, with the cotangents of both start and actions."""
    native = allowed_kernel(weights)
    with torch.no_grad():
        if native is not None:
            states, kept = native.forward(start, actions, keep=True)
            return states, lambda cotangents: _both(native.backward(cotangents, kept, to_start=True))
        states, steps = _unroll(weights, start, actions, keep=True)
        return states, torch.no_grad()(lambda cotangents: _both(_unroll_back(weights, steps, cotangents, to_start=True)))


def _both(cotangents: tuple[Tensor | None, Tensor]) -> tuple[Tensor, Tensor]:
    start, actions = cotangents
    assert start is not None, "the cotangents of the start were requested"
    return start, actions
