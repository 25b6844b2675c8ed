"""Goal cost `probe`: state observations predicted from states, trained with labels; also measures a pixel model's errors."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from world_models.precision import without_autocast


class Probe(nn.Module):
    """State observations from model states: linear for `width` 0, else with two hidden layers. It serves as `decode`."""

    def __init__(self, state: int, observation: int, width: int = 0) -> None:
        super().__init__()
        self.width = width
        hidden = (nn.Linear(state, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()) if width else ()
        self.layers = nn.Sequential(*hidden, nn.Linear(width or state, observation))
        self.register_buffer("mean", torch.zeros(observation))
        self.register_buffer("std", torch.ones(observation))

    mean: Tensor
    std: Tensor
    """Standard deviation of the observations; the layers predict normalised ones."""

    def forward(self, states: Float[Tensor, "*n state"]) -> Float[Tensor, "*n observation"]:
        """Observations in the task's units."""
        return self.layers(states) * self.std + self.mean


class ProbeCost(nn.Module):
    """A `GoalCost` learned with labels: mean over features of weight * (probe(s) - probe(g))^2."""

    def __init__(self, probe: Probe, weights: Float[Tensor, " observation"]) -> None:
        super().__init__()
        self.probe = probe
        self.register_buffer("weights", weights.clone())

    weights: Tensor
    """Weights in units of 1 / observation^2."""

    def forward(self, states: Float[Tensor, "n state"], goals: Float[Tensor, "n state"]) -> Float[Tensor, " n"]:
        """Cost of each state against its goal, `[n]`."""
        # Near the goal two predictions nearly cancel: bfloat16 would not tell them apart.
        with without_autocast(states.device):
            return ((self.probe(states.to(goals)) - self.probe(goals)).square() * self.weights).mean(1)
