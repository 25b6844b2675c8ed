"""A recurrent world model for observations that do not tell the whole state: a GRU remembers what they leave out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from world_models.errors import UnknownNameError, require
from world_models.models.mlp import ACTIVATIONS
from world_models.models.recurrent import HiddenState

MOST_WARM_UP = 1_000
"""Most steps that a model is shown before a start."""


@dataclass(frozen=True)
class RecurrentConfig:
    """Configuration of a `RecurrentModel`. Raises UserError for a size below 1 and UnknownNameError for an activation."""

    observation_dim: int
    action_dim: int
    """Size of one environment action."""
    action_block: int = 1
    """Environment steps per model step."""
    width: int = 128
    """Width of the hidden layer that predicts the change."""
    hidden: int = 64
    """Size of the memory."""
    warm_up: int = 10
    """Model steps before a start that the model is shown, where they are known."""
    activation: str = "silu"

    def __post_init__(self) -> None:
        for name in ("observation_dim", "action_dim", "action_block", "width", "hidden"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            require(whole, f"RecurrentConfig.{name} {value!r} is not a valid size: give a whole number >= 1.")
        shown = isinstance(self.warm_up, int) and not isinstance(self.warm_up, bool) and 0 <= self.warm_up <= MOST_WARM_UP
        require(shown, f"warm_up {self.warm_up!r} is not a number of steps: give a whole number from 0 to {MOST_WARM_UP}.")
        if self.activation not in ACTIVATIONS:
            raise UnknownNameError("activation", self.activation, ACTIVATIONS)


class GruCell(nn.Module):
    """One step: the memory takes in features and action, and a layer predicts the change of the features from all three."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        inputs = config.observation_dim + config.action_dim * config.action_block
        self.memory = nn.GRUCell(inputs, config.hidden)
        self.inner = nn.Linear(inputs + config.hidden, config.width)
        self.out = nn.Linear(config.width, config.observation_dim)
        self._activation = ACTIVATIONS[config.activation]
        self.register_buffer("delta_scale", torch.ones(config.observation_dim))

    delta_scale: Tensor
    """Standard deviation of one model step's change, in normalised units, `[observation]`."""

    def forward(
        self, features: Float[Tensor, "n feature"], action: Float[Tensor, "n action"], hidden: Float[Tensor, "n hidden"]
    ) -> tuple[Float[Tensor, "n feature"], Float[Tensor, "n hidden"]]:
        """The next features and the next memory."""
        given = torch.cat([features, action], 1)
        memory = self.memory(given, hidden)
        change = self.out(self._activation(self.inner(torch.cat([given, memory], 1))))
        return torch.addcmul(features, self.delta_scale, change), memory


class Normalisation(nn.Module):
    """Observations in deviations from their mean."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    mean: Tensor
    std: Tensor

    def forward(self, observation: Float[Tensor, "*batch observation"]) -> Float[Tensor, "*batch observation"]:
        """Normalised observations."""
        return (observation.to(self.mean.dtype) - self.mean) / self.std

    def inverse(self, features: Float[Tensor, "*batch observation"]) -> Float[Tensor, "*batch observation"]:
        """Observations that have these normalised features."""
        return features * self.std + self.mean


class RecurrentModel(HiddenState):
    """A `WorldModel` whose states are normalised observations and the GRU's memory of what came before them.

    Without a known past, the memory of a start is the one that training found best for a start.
    """

    def __init__(self, config: RecurrentConfig) -> None:
        actions, encoder = config.action_dim * config.action_block, Normalisation(config.observation_dim)
        super().__init__(GruCell(config), config.observation_dim, actions, config.hidden, encoder)
        self.config, self.warm_up = config, config.warm_up

    @property
    def gru(self) -> GruCell:
        """The cell."""
        return cast(GruCell, self.cell)

    @property
    def normalisation(self) -> Normalisation:
        """The encoder."""
        return cast(Normalisation, self.encoder)

    @property
    def observation_std(self) -> Float[Tensor, " observation"]:
        """Standard deviations of the observations."""
        return self.normalisation.std

    def set_normalisation(
        self,
        mean: Float[Tensor, " observation"],
        std: Float[Tensor, " observation"],
        delta_std: Float[Tensor, " observation"],
    ) -> None:
        """Set the normalisation, all in observation units; `delta_std` is the standard deviation of a model step's change."""
        self.normalisation.mean.copy_(mean)
        self.normalisation.std.copy_(std)
        self.gru.delta_scale.copy_(delta_std / std)

    def decode(self, states: Float[Tensor, "n both"]) -> Float[Tensor, "n observation"]:
        """Observations that states stand for; the memory is left out."""
        return self.normalisation.inverse(states[:, : self.features])


def recurrent_loss(
    model: RecurrentModel,
    observations: Float[Tensor, "batch time_plus_one observation"],
    actions: Float[Tensor, "batch time action"],
    shown: int,
    beta: float,
) -> Float[Tensor, ""]:
    """Smooth-L1 of predictions in standard deviations of one step's change.

    The first `shown` steps and the one after them are predicted from what was observed, the others from predictions.
    """
    seen = model.normalisation(observations)
    hidden = model.initial.expand(len(seen), -1)
    state, errors = seen[:, 0], []
    for t in range(actions.shape[1]):
        state, hidden = model.gru(seen[:, t] if t <= shown else state, actions[:, t], hidden)
        errors.append((state - seen[:, t + 1]) / model.gru.delta_scale)
    error = torch.stack(errors, 1)
    return functional.smooth_l1_loss(error, torch.zeros_like(error), beta=beta)
