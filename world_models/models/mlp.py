"""The residual MLP world model for state observations, and its goal cost.

A state is the normalised observation. One model step adds a learned change to it: s' = s + delta_scale * f(s, a).
The normalisation is stored in buffers, and therefore in checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from world_models.base import Context, Pullback, Vjp, autograd_pullback, autograd_vjp, serial_rollout
from world_models.errors import UnknownNameError, require
from world_models.models.mlp_frozen import (
    FAST_ACTIVATIONS,
    FrozenWeights,
    allowed_kernel,
    frozen_pullback,
    frozen_rollout,
    frozen_vjp,
)
from world_models.models.network import Network
from world_models.precision import Arithmetic, torch_arithmetic

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "tanh": torch.tanh,
}
"""Activation functions by name."""


@dataclass(frozen=True)
class MLPConfig:
    """Configuration of a `ResidualMLP`. `depth` counts hidden layers: the input layer and `depth - 1` residual blocks.

    Raises UserError for a size below 1 and UnknownNameError for an unknown activation.
    """

    observation_dim: int
    action_dim: int
    """Size of one environment action."""
    action_block: int = 1
    """Environment steps per model step; the model's action is that many environment actions, concatenated."""
    width: int = 256
    depth: int = 3
    activation: str = "relu"
    layer_norm: bool = True
    """Normalise the input of every residual block."""

    def __post_init__(self) -> None:
        for name in ("observation_dim", "action_dim", "action_block", "width", "depth"):
            value = getattr(self, name)
            require(
                isinstance(value, int) and not isinstance(value, bool) and value >= 1,
                f"MLPConfig.{name} {value!r} is not a valid size: give a whole number >= 1.",
            )
        if self.activation not in ACTIVATIONS:
            raise UnknownNameError("activation", self.activation, ACTIVATIONS)


class ResidualMLP(Network[MLPConfig]):
    """A `WorldModel` over state observations: residual on the state, residual blocks, LayerNorm before each block.

    LayerNorm has no affine parameters: the linear layer after it could absorb them, and they cost time.
    """

    def __init__(self, config: MLPConfig) -> None:
        super().__init__(config)
        width, features = config.width, config.observation_dim
        # Two input layers instead of one over a concatenation: no copy, and no work for an unneeded state gradient.
        self.state_in = nn.Linear(features, width)
        self.action_in = nn.Linear(self.action_dim, width, bias=False)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(config.depth - 1))
        self.out = nn.Linear(width, features)
        self.register_buffer("observation_mean", torch.zeros(features))
        self.register_buffer("observation_std", torch.ones(features))
        self.register_buffer("delta_scale", torch.ones(features))
        self._activation = ACTIVATIONS[config.activation]
        self._prepared: tuple[object, FrozenWeights | None] | None = None

    observation_mean: Tensor
    observation_std: Tensor
    delta_scale: Tensor
    """Standard deviation of one step's change, in state units."""

    def set_normalisation(
        self,
        mean: Float[Tensor, " observation"],
        std: Float[Tensor, " observation"],
        delta_std: Float[Tensor, " observation"],
    ) -> None:
        """Set the normalisation, all in observation units; `delta_std` is the standard deviation of a model step's change.

        Raises UserError for a standard deviation that is not positive.
        """
        for name, value in (("std", std), ("delta_std", delta_std)):
            require(bool((value > 0).all()), f"{name} {value.tolist()} is not positive: floor constant features.")
        self.observation_mean.copy_(mean)
        self.observation_std.copy_(std)
        self.delta_scale.copy_(delta_std / std)

    @property
    def state_shape(self) -> tuple[int, ...]:
        """`(observation_dim,)`."""
        return (self.config.observation_dim,)

    def encode(self, observation: Float[Tensor, "*batch observation"]) -> Float[Tensor, "*batch observation"]:
        """Normalised observations."""
        return (observation.to(self.dtype) - self.observation_mean) / self.observation_std

    def decode(self, state: Float[Tensor, "*batch observation"]) -> Float[Tensor, "*batch observation"]:
        """Observations that correspond to states: the inverse of `encode`."""
        return state * self.observation_std + self.observation_mean

    def delta(self, state: Float[Tensor, "n observation"], action: Float[Tensor, "n action"]) -> Float[Tensor, "n observation"]:
        """f(s, a), one step's change in units of `delta_scale` (the training target's natural scale)."""
        hidden = self._activation(self.state_in(state) + self.action_in(action))
        for block in self.blocks:
            inner = functional.layer_norm(hidden, hidden.shape[1:]) if self.config.layer_norm else hidden
            hidden = hidden + self._activation(block(inner))
        return self.out(hidden)

    def step(
        self, states: Float[Tensor, "n 1 observation"], actions: Float[Tensor, "n 1 action"]
    ) -> Float[Tensor, "n observation"]:
        """The next states.

        With frozen weights and ReLU or SiLU a faster path gives the same values and first derivatives with respect to states
        and actions; second derivatives need a model whose weights require gradients.
        """
        state, action = states[:, 0], actions[:, 0]
        weights = self._frozen_weights()
        if weights is not None:
            return frozen_rollout(weights, state, actions)[:, 0]
        return torch.addcmul(state, self.delta_scale, self.delta(state, action))

    def rollout(self, context: Context, actions: Float[Tensor, "batch time action"]) -> Float[Tensor, "batch time observation"]:
        """States s_1..s_T; with frozen weights, all steps are one autograd node."""
        weights = self._frozen_weights()
        if weights is not None:
            return frozen_rollout(weights, context.last, actions)
        return serial_rollout(self, context, actions)

    def step_pullback(
        self, states: Float[Tensor, "n 1 observation"], actions: Float[Tensor, "n 1 action"]
    ) -> tuple[Float[Tensor, "n observation"], Pullback]:
        """The next states and their derivative with respect to the actions, without autograd if the weights are frozen."""
        weights = self._frozen_weights()
        if weights is None:
            return autograd_pullback(self, states, actions)
        following, pullback = frozen_pullback(weights, states[:, 0], actions)
        return following[:, 0], lambda cotangent: pullback(cotangent.unsqueeze(1))

    def step_vjp(
        self, states: Float[Tensor, "n 1 observation"], actions: Float[Tensor, "n 1 action"]
    ) -> tuple[Float[Tensor, "n observation"], Vjp]:
        """The next states and their derivative with respect to states and actions, without autograd if weights are frozen."""
        weights = self._frozen_weights()
        if weights is None:
            return autograd_vjp(self, states, actions)
        following, vjp = frozen_vjp(weights, states[:, 0], actions)

        def back(cotangent: Float[Tensor, "n observation"]) -> tuple[Tensor, Tensor]:
            to_state, to_actions = vjp(cotangent.unsqueeze(1))
            return to_state.unsqueeze(1), to_actions

        return following[:, 0], back

    def lifted_gradients(
        self,
        context: Context,
        states: Float[Tensor, "batch virtual observation"],
        actions: Float[Tensor, "batch time action"],
        goals: Float[Tensor, "batch observation"],
        goal_weight: Float[Tensor, "batch time"],
        feature_weights: Float[Tensor, " observation"],
    ) -> tuple[Float[Tensor, "batch virtual observation"], Float[Tensor, "batch time action"]] | None:
        """GRASP's reshaped gradients by the kernel, None if there is none (`world_models.base.LiftedModel`)."""
        weights = self._frozen_weights()
        native = None if weights is None else allowed_kernel(weights)
        if native is None:
            return None
        return native.lifted_gradients(torch.cat([context.states, states], 1), actions, goals, goal_weight, feature_weights)

    def arithmetic(self) -> Arithmetic:
        """The kernel where the current precision allows it and there is one, else torch."""
        weights = self._frozen_weights()
        native = None if weights is None else allowed_kernel(weights)
        # With frozen weights torch computes without autocast.
        return torch_arithmetic(self.device, self.dtype, autocast=weights is None) if native is None else native.arithmetic

    def _frozen_weights(self) -> FrozenWeights | None:
        """The prepared weights, cached until they change; None while any of them requires gradients."""
        read = self._read()
        version = [(tensor.data_ptr(), tensor.dtype, tensor.requires_grad, _version(tensor)) for tensor in read]
        if self._prepared is None or self._prepared[0] != version:
            open_weights = self.config.activation not in FAST_ACTIVATIONS or any(tensor.requires_grad for tensor in read)
            self._prepared = (version, None if open_weights else self._weights())
        return self._prepared[1]

    def _read(self) -> tuple[Tensor, ...]:
        """All tensors that a step reads."""
        # Read straight from the dictionaries: modules' attribute look-ups would cost more than the rest of this check.
        modules = self._modules
        layers = (modules["state_in"], modules["action_in"], *self._blocks(), modules["out"])
        return (*(tensor for layer in layers for tensor in _parameters(layer)), self.delta_scale)

    def _blocks(self) -> tuple[nn.Linear, ...]:
        return tuple(self.blocks)  # pyright: ignore[reportReturnType]

    def _weights(self) -> FrozenWeights:
        return FrozenWeights(
            state_in=self.state_in.weight,
            action_in=self.action_in.weight,
            bias_in=self.state_in.bias,
            blocks=tuple((block.weight, block.bias) for block in self._blocks()),
            out=self.out.weight,
            bias_out=self.out.bias,
            delta_scale=self.delta_scale,
            layer_norm=self.config.layer_norm,
            activation=self.config.activation,
        )

    def __getstate__(self) -> dict[str, Any]:
        """State for copies and pickles, without the prepared weights."""
        return {**self.__dict__, "_prepared": None}


def _parameters(layer: nn.Module | None) -> list[Tensor]:
    return [] if layer is None else [tensor for tensor in layer._parameters.values() if tensor is not None]


def _version(tensor: Tensor) -> object:
    """A value that stays equal until the tensor changes in place; never equal for inference tensors, which count no changes."""
    return object() if tensor.is_inference() else tensor._version


class StateGoalCost(nn.Module):
    """A `GoalCost` over weighted features of the state: mean over features of weights * (s - g)^2.

    Raises UserError for negative weights or weights that are all zero.
    """

    def __init__(self, weights: Float[Tensor, " observation"]) -> None:
        super().__init__()
        sound = bool(torch.isfinite(weights).all()) and bool((weights >= 0).all()) and bool((weights > 0).any())
        require(sound, f"goal weights {weights.tolist()} must be finite, >= 0 and not all zero.")
        self.register_buffer("weights", weights.clone())

    weights: Tensor

    def forward(self, states: Float[Tensor, "n observation"], goals: Float[Tensor, "n observation"]) -> Float[Tensor, " n"]:
        """Cost of each state against its goal, `[n]`."""
        return ((states - goals).square() * self.weights).mean(1)

    def feature_weights(self, goals: Float[Tensor, "batch observation"]) -> Float[Tensor, " observation"]:
        """The weights."""
        return self.weights
