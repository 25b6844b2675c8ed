"""`probe`: state observations read off states, by labels; what shows a pixel model's errors, and a goal cost."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from world_models.precision import without_autocast


class Probe(nn.Module):
    """State observations of model states: linear for `width` 0, else with two hidden layers. It is a model's `decode`."""

    def __init__(self, state: int, observation: int, width: int = 0) -> None:
        super().__init__()
        self.width = width
        hidden = (nn.Linear(state, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()) if width else ()
        self.layers = nn.Sequential(*hidden, nn.Linear(width or state, observation))
        self.register_buffer("mean", torch.zeros(observation))
        self.register_buffer("std", torch.ones(observation))

    mean: Tensor
    std: Tensor
    """Of the observations: hidden layers work on normalised ones."""

    def forward(self, states: Float[Tensor, "*n state"]) -> Float[Tensor, "*n observation"]:
        """Observations in the task's units."""
        return self.layers(states) * self.std + self.mean


class ProbeCost(nn.Module):
    """A `GoalCost` that was learned with labels: mean over features of weight * (probe(s) - probe(g))^2."""

    def __init__(self, probe: Probe, weights: Float[Tensor, " observation"]) -> None:
        super().__init__()
        self.probe = probe
        self.register_buffer("weights", weights.clone())

    weights: Tensor
    """In units of one over the squared observation."""

    def forward(self, states: Float[Tensor, "n state"], goals: Float[Tensor, "n state"]) -> Float[Tensor, " n"]:
        """Cost of each state against its goal."""
        # Near the goal two readings nearly cancel: bfloat16 would not tell them apart.
        with without_autocast(states.device):
            return ((self.probe(states.to(goals)) - self.probe(goals)).square() * self.weights).mean(1)
