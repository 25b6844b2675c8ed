"""`temporal`: how many steps apart two observations are, learned from trajectories without labels.

An embedding phi of states in which straight distance stands for steps. Three ways to learn it (`METHODS`):
- `quasimetric`: push random pairs apart while no step of the data may be longer than a step (Wang et al., "Optimal
  Goal-Reaching Reinforcement Learning via Quasimetric Learning", arXiv 2304.01203; with a Euclidean embedding this is maximum
  variance unfolding);
- `contrastive`: states that follow each other within a trajectory are nearer than those of others (InfoNCE);
- `expectile`: steps apart along trajectories, regressed with an expectile below 1/2, for ways of the data are detours.
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
    """Sizes of a `TemporalCost`. Raises UserError for a size below 1."""

    state: int
    embedding: int = 16
    width: int = 128
    depth: int = 2

    def __post_init__(self) -> None:
        for name in ("state", "embedding", "width", "depth"):
            require(getattr(self, name) >= 1, f"TemporalConfig.{name} {getattr(self, name)!r} must be >= 1.")


class TemporalCost(nn.Module):
    """A `GoalCost`: the squared distance of embeddings, in units of what random observations are apart (so 1 is far)."""

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
    """Steps that random observations are apart (root mean square)."""

    def embed(self, states: Float[Tensor, "n state"]) -> Float[Tensor, "n embedding"]:
        """phi: distances are steps."""
        return 10.0 * (self.linear(states) + self.layers(states))

    def steps_apart(self, states: Float[Tensor, "n state"], others: Float[Tensor, "n state"]) -> Float[Tensor, " n"]:
        """How many environment steps apart states are, as learned."""
        return ((self.embed(states) - self.embed(others)).square().sum(1) + 1e-6).sqrt()

    @torch.no_grad()
    def calibrate(self, states: Float[Tensor, "trajectories time state"]) -> None:
        """Set `unit` from states that are spread like those to come."""
        embedded = self.embed(states.flatten(0, 1))
        # Two independent draws differ by twice the variance on average.
        self.unit.copy_((2.0 * embedded.var(0).sum()).sqrt())

    def forward(self, states: Float[Tensor, "n state"], goals: Float[Tensor, "n state"]) -> Float[Tensor, " n"]:
        """Cost of each state against its goal: squared steps apart over `unit` squared."""
        # Near the goal two large embeddings nearly cancel: bfloat16 would not tell them apart.
        with without_autocast(states.device):
            return (self.embed(states.to(goals)) - self.embed(goals)).square().sum(1) / self.unit.square()


@dataclass(frozen=True)
class Pairs:
    """What the head learns from: states of the same trajectory some steps apart, and how far that is at most."""

    first: Float[Tensor, "n state"]
    second: Float[Tensor, "n state"]
    """States that follow the first ones."""
    apart: Float[Tensor, " n"]
    """Environment steps between them (or what they cost)."""

    def strangers(self) -> Float[Tensor, "n state"]:
        """States of other pairs, one for each first state."""
        return self.second.roll(len(self.second) // 2, 0)


Method = Callable[[TemporalCost, Pairs, Float[Tensor, ""]], Float[Tensor, ""]]
"""Takes the head, pairs and a trainable price of broken constraints; the loss."""

TOLERANCE = 0.05
"""How far steps may be too long (root mean square, in parts) before their price rises."""
NEAR_WEIGHT = 0.5
"""Weight of the distances within trajectories among those that are to grow."""
SOFTEST = 0.1
"""Steps added to distances before their logarithm is taken."""


def quasimetric(cost: TemporalCost, pairs: Pairs, price: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Distances grow, priced where a way is shown to be shorter; the price itself rises by what is broken.

    It is logarithms that grow, of strangers' distances and of those within trajectories. Distances themselves would do for
    long ranges, but then short ones come out uneven: a part more of a long way gains more than the same part of a short one.
    """
    far = cost.steps_apart(pairs.first, pairs.strangers())
    near = cost.steps_apart(pairs.first, pairs.second)
    excess = (near / pairs.apart.clamp_min(0.05) - 1.0).clamp_min(0.0)
    broken = excess.square().mean() - TOLERANCE**2
    value = functional.softplus(price)
    growth = (far + SOFTEST).log().mean() + NEAR_WEIGHT * (near + SOFTEST).log().mean()
    return value.detach() * broken - value * broken.detach() - growth


def contrastive(cost: TemporalCost, pairs: Pairs, price: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """InfoNCE with minus the distance as logit: the second state is to be told from all others'."""
    distances = torch.cdist(cost.embed(pairs.first), cost.embed(pairs.second))
    return functional.cross_entropy(-distances, torch.arange(len(distances), device=distances.device))


EXPECTILE = 0.05
"""Weight of distances that are too short against those too long: the learned distance leans to the quickest ways seen."""


def expectile(cost: TemporalCost, pairs: Pairs, price: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Asymmetric square of distance minus steps apart: the least steps seen between two states, softly."""
    error = (cost.steps_apart(pairs.first, pairs.second) - pairs.apart) / 10.0
    return torch.where(error < 0, EXPECTILE, 1.0 - EXPECTILE).mul(error.square()).mean()


METHODS: dict[str, Method] = {"quasimetric": quasimetric, "contrastive": contrastive, "expectile": expectile}
"""Ways to learn the head, by name."""


def method(name: str) -> Method:
    """The way called `name`; UnknownNameError for another."""
    if name not in METHODS:
        raise UnknownNameError("temporal method", name, METHODS)
    return METHODS[name]
