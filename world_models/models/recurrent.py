"""Recurrent models: the hidden state is carried within the planner's state, so that every planner can use them.

A planner's state is the observation's features followed by the hidden ones. Goal costs judge the features alone; a problem's
start has no past, so its hidden state is the initial one, and a replan's is that of everything observed until then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from world_models.base import Decode, GoalCost, QuadraticCost
from world_models.errors import require
from world_models.models.network import Placed


class HiddenState(Placed):
    """A recurrent cell as a `WorldModel` of history 1, whose states are `(features + hidden,)`.

    `cell(features, action, hidden)`, `[n, features]`, `[n, action]` and `[n, hidden]`, returns the next features and the next
    hidden state. `encoder(observation)` makes the features, `[n, features]`; without one they are the state observation.
    A problem's start has the hidden state `start(observation)`, or without that `initial`, which is zero if nothing sets it.
    Lifted planners treat hidden states as virtual states like any others: a plan's dynamics are satisfied when both parts are.

    Raises UserError for sizes below 1.
    """

    def __init__(
        self,
        cell: nn.Module,
        features: int,
        action_dim: int,
        hidden: int,
        encoder: nn.Module | None = None,
        start: nn.Module | None = None,
    ) -> None:
        super().__init__()
        for name, size in (("features", features), ("action_dim", action_dim), ("hidden", hidden)):
            require(size >= 1, f"{name} {size} is below 1: give the number of them.")
        self.cell = cell
        self.encoder = nn.Identity() if encoder is None else encoder
        self.start = start
        self.features, self.action_dim = features, action_dim
        self.initial = nn.Parameter(torch.zeros(hidden))

    history = 1
    warm_up = 0
    """Model steps before a start that the model is shown, where they are known."""

    @property
    def state_shape(self) -> tuple[int, ...]:
        """`(features + hidden,)`."""
        return (self.features + len(self.initial),)

    def encode(self, observation: Any) -> Float[Tensor, "batch both"]:
        """The features of observations, with the hidden state of a start."""
        features = self.encoder(observation)
        hidden = self.initial.expand(len(features), -1) if self.start is None else self.start(observation)
        return torch.cat([features, hidden], 1)

    def step(self, states: Float[Tensor, "n 1 both"], actions: Float[Tensor, "n 1 action"]) -> Float[Tensor, "n both"]:
        """The next features and the next hidden state."""
        features, hidden = states[:, -1, : self.features], states[:, -1, self.features :]
        return torch.cat(self.cell(features, actions[:, -1], hidden), 1)

    def observed(
        self, states: Float[Tensor, "n 1 both"], actions: Float[Tensor, "n 1 action"], seen: Float[Tensor, "n both"]
    ) -> Float[Tensor, "n both"]:
        """The state after an action: features as `seen`, and the hidden state that the cell then has."""
        return torch.cat([seen[:, : self.features], self.step(states, actions)[:, self.features :]], 1)

    def adapt_goal_cost(self, base: GoalCost) -> FeatureCost:
        """A goal cost of features as one of states."""
        return feature_cost(base, self.features)

    def decoder(self, base: Decode | None = None) -> FeatureDecode:
        """Decoding of states by their features; `base` decodes features, which without it are observations."""
        return FeatureDecode(nn.Identity() if base is None else base, self.features)


class FeatureCost(nn.Module):
    """A goal cost that judges the first features of states alone."""

    def __init__(self, base: GoalCost, features: int) -> None:
        super().__init__()
        self.base, self.features = base, features

    def forward(self, states: Float[Tensor, "n both"], goals: Float[Tensor, "n both"]) -> Float[Tensor, " n"]:
        """Cost of each state's features against its goal's, `[n]`."""
        return self.base(states[:, : self.features], goals[:, : self.features])


class QuadraticFeatureCost(FeatureCost):
    """A `FeatureCost` whose base is a `QuadraticCost`, which makes it one as well."""

    def feature_weights(self, goals: Float[Tensor, "batch both"]) -> Float[Tensor, " both"]:
        """The base's weights, rescaled for a mean over all features, and 0 for hidden ones."""
        assert isinstance(self.base, QuadraticCost)
        weights = goals.new_zeros(goals.shape[1])
        own = self.base.feature_weights(goals[:, : self.features])
        weights[: self.features] = own * (goals.shape[1] / self.features)
        return weights


def feature_cost(base: GoalCost, features: int) -> FeatureCost:
    """A goal cost of the first features of states; quadratic if the base is."""
    kind = QuadraticFeatureCost if isinstance(base, QuadraticCost) else FeatureCost
    return kind(base, features)


class FeatureDecode(nn.Module):
    """A decoder of the first features of states."""

    def __init__(self, base: Callable[[Tensor], Tensor], features: int) -> None:
        super().__init__()
        self.base, self.features = base, features

    def forward(self, states: Float[Tensor, "n both"]) -> Float[Tensor, "n observation"]:
        """Observations decoded from states."""
        return self.base(states[:, : self.features])
