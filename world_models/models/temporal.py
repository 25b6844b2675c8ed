"""Goal cost `temporal`: the number of steps between two states, learned from trajectories without labels.

An embedding phi of states in which Euclidean distance stands for steps. There are three methods to learn it (`METHODS`):
- `quasimetric`: push random pairs apart, with the constraint that no step of the data is longer than one step (Wang et al.,
  "Optimal Goal-Reaching Reinforcement Learning via Quasimetric Learning", arXiv 2304.01203; with a Euclidean embedding this is
  maximum variance unfolding);
- `contrastive`: states that follow each other within a trajectory are nearer than states of other trajectories (InfoNCE);
- `expectile`: regression on steps along trajectories with an expectile below 1/2, because paths in the data are detours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from world_models.errors import UnknownNameError, require
from world_models.precision import without_autocast


@dataclass(frozen=True)
class TemporalConfig:
    """Configuration of a `TemporalCost`. Raises UserError for a size below 1."""

    state: int
    embedding: int = 16
    width: int = 128
    depth: int = 2

    def __post_init__(self) -> None:
        for name in ("state", "embedding", "width", "depth"):
            require(getattr(self, name) >= 1, f"TemporalConfig.{name} {getattr(self, name)!r} must be >= 1.")


class TemporalCost(nn.Module):
    """A `GoalCost`: the squared distance of embeddings in units of the distance between random observations (so 1 is far)."""

    def __init__(self, config: TemporalConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        features = config.state
        for _ in range(config.depth):
            layers += [nn.Linear(features, config.width), nn.SiLU()]
            features = config.width
        self.layers = nn.Sequential(*layers, nn.Linear(features, config.embedding))
        self.linear = nn.Linear(config.state, config.embedding, bias=False)
        self.register_buffer("unit", torch.ones(()))

    unit: Tensor
    """Steps between random observations (root mean square)."""

    def embed(self, states: Float[Tensor, "n state"]) -> Float[Tensor, "n embedding"]:
        """Embeddings phi of states; their distances are in environment steps."""
        return 10.0 * (self.linear(states) + self.layers(states))

    def steps_apart(self, states: Float[Tensor, "n state"], others: Float[Tensor, "n state"]) -> Float[Tensor, " n"]:
        """Learned number of environment steps between states."""
        return ((self.embed(states) - self.embed(others)).square().sum(1) + 1e-6).sqrt()

    @torch.no_grad()
    def calibrate(self, states: Float[Tensor, "trajectories time state"]) -> None:
        """Set `unit` from states distributed like those that will be evaluated."""
        embedded = self.embed(states.flatten(0, 1))
        # Two independent draws differ by twice the variance on average.
        self.unit.copy_((2.0 * embedded.var(0).sum()).sqrt())

    def forward(self, states: Float[Tensor, "n state"], goals: Float[Tensor, "n state"]) -> Float[Tensor, " n"]:
        """Cost of each state against its goal: (steps between them / `unit`)^2."""
        # Near the goal two large embeddings nearly cancel: bfloat16 would not tell them apart.
        with without_autocast(states.device):
            return (self.embed(states.to(goals)) - self.embed(goals)).square().sum(1) / self.unit.square()


@dataclass(frozen=True)
class Pairs:
    """Training pairs: states of the same trajectory, and an upper bound of the distance between them."""

    first: Float[Tensor, "n state"]
    second: Float[Tensor, "n state"]
    """States that follow the first ones."""
    apart: Float[Tensor, " n"]
    """Environment steps between them (or the cost of these)."""

    def strangers(self) -> Float[Tensor, "n state"]:
        """States from other pairs, one for each first state."""
        return self.second.roll(len(self.second) // 2, 0)


Method = Callable[[TemporalCost, Pairs, Float[Tensor, ""]], Float[Tensor, ""]]
"""Loss of the head on pairs, given a trainable price of violated constraints."""

TOLERANCE = 0.05
"""Relative excess length of steps (root mean square) above which their price rises."""
NEAR_WEIGHT = 0.5
"""Weight of the distances within trajectories in the term that makes distances grow."""
SOFTEST = 0.1
"""Steps added to distances before taking their logarithm."""


def quasimetric(cost: TemporalCost, pairs: Pairs, price: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Loss that makes distances grow, with a price on those longer than the data show; the price rises with the violation.

    The logarithms of distances grow, both of random pairs and within trajectories. Maximising distances themselves works at
    long range but makes short distances uneven: stretching a long path by some fraction gains more than stretching a short one.
    """
    far = cost.steps_apart(pairs.first, pairs.strangers())
    near = cost.steps_apart(pairs.first, pairs.second)
    excess = (near / pairs.apart.clamp_min(0.05) - 1.0).clamp_min(0.0)
    broken = excess.square().mean() - TOLERANCE**2
    value = functional.softplus(price)
    growth = (far + SOFTEST).log().mean() + NEAR_WEIGHT * (near + SOFTEST).log().mean()
    return value.detach() * broken - value * broken.detach() - growth


def contrastive(cost: TemporalCost, pairs: Pairs, price: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """InfoNCE with the negative distance as logit: each second state must be told from those of the other pairs."""
    distances = torch.cdist(cost.embed(pairs.first), cost.embed(pairs.second))
    return functional.cross_entropy(-distances, torch.arange(len(distances), device=distances.device))


EXPECTILE = 0.05
"""Weight of distances that are too short (1 minus this: too long), so that the shortest observed paths dominate."""


def expectile(cost: TemporalCost, pairs: Pairs, price: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Asymmetric squared error of distance and steps, a soft minimum of the steps observed between two states."""
    error = (cost.steps_apart(pairs.first, pairs.second) - pairs.apart) / 10.0
    return torch.where(error < 0, EXPECTILE, 1.0 - EXPECTILE).mul(error.square()).mean()


METHODS: dict[str, Method] = {"quasimetric": quasimetric, "contrastive": contrastive, "expectile": expectile}
"""Methods to learn the head, by name."""


def method(name: str) -> Method:
    """The method called `name`; raises UnknownNameError if there is none."""
    if name not in METHODS:
        raise UnknownNameError("temporal method", name, METHODS)
    return METHODS[name]
