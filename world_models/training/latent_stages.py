"""Training stages on frozen latents: the predictor with long unrolls, the temporal goal cost, and the probe."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from world_models.errors import UnknownNameError, require
from world_models.models.jepa import JEPA
from world_models.models.probe import Probe
from world_models.models.temporal import METHODS, Pairs, TemporalConfig, TemporalCost, method
from world_models.seeding import step_seed
from world_models.training.loop import LoopSettings, Stage
from world_models.training.windows import States, StateWindows


@dataclass(frozen=True)
class PredictorSettings(LoopSettings):
    """Settings of predictor training on frozen latents, in stages of increasing unrolls; `steps` is their total."""

    unrolls: tuple[int, ...] = (1, 4, 16)
    """Model steps unrolled in the loss, stage by stage."""
    shares: tuple[float, ...] = (0.4, 0.4, 0.2)
    """Fractions of the steps, stage by stage."""
    steps: int = 8000
    batch_size: int = 256
    average: float = 0.998
    beta: float = 0.1
    """Threshold of smooth-L1 between squared and absolute error, in standard deviations of one step's change."""
    start_share: float = 0.1
    """Fraction of windows that begin at rest, as plans do."""
    history_noise: float = 0.0
    """Standard deviation of noise on all but the last state of a window: a model of a world without inertia learns to rely on
    the last state."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            len(self.unrolls) == len(self.shares) > 0 and min(self.unrolls) >= 1 and min(self.shares) > 0,
            f"unrolls {self.unrolls} must be >= 1 and shares {self.shares} > 0, one share per unroll.",
        )
        require(0 <= self.start_share <= 1, f"start_share {self.start_share} must lie in [0, 1].")

    def unroll_at(self, step: int) -> int:
        """Unrolled model steps at a gradient step."""
        done = (step + 0.5) / self.steps * sum(self.shares)
        for unroll, share in zip(self.unrolls, self.shares, strict=True):
            done -= share
            if done < 0:
                return unroll
        return self.unrolls[-1]


def predictor_stage(model: JEPA, data: States, settings: PredictorSettings, about: str) -> Stage:
    """The stage that trains the predictor on open-loop error of latents; the encoder is frozen."""
    model.encoder.requires_grad_(False)

    def make(step: int) -> StateWindows:
        unroll = settings.unroll_at(step)
        return data.windows(model.history, unroll, settings.batch_size, settings.start_share, settings.seed, step)

    def loss(batch: StateWindows, generator: torch.Generator) -> Float[Tensor, ""]:
        return unrolled_error(model, batch, settings, generator)

    return Stage("predictor", model, make, loss, settings, about)


def unrolled_error(
    model: JEPA, batch: StateWindows, settings: PredictorSettings, generator: torch.Generator
) -> Float[Tensor, ""]:
    """Smooth-L1 of the open-loop prediction, in standard deviations of one step's change."""
    h, states = model.history, batch.states
    window = states[:, :h]
    if settings.history_noise and h > 1:
        noise = torch.randn(window[:, 1:].shape, generator=generator).to(window)
        window = torch.cat([window[:, :-1] + settings.history_noise * noise, window[:, -1:]], 1)
    errors = []
    for t in range(h, states.shape[1]):
        following = model.step(window, batch.actions[:, t - h : t])
        errors.append((following - states[:, t]) / model.delta_scale)
        window = torch.cat([window[:, 1:], following.unsqueeze(1)], 1)
    error = torch.stack(errors)
    return functional.smooth_l1_loss(error, torch.zeros_like(error), beta=settings.beta)


PRICES = ("time", "effort")
"""Costs of a step: 1, or the norm of its action (if actions are motions, paths then cost their length)."""


@dataclass(frozen=True)
class TemporalSettings(LoopSettings):
    """Settings of training the temporal goal cost. Raises UnknownNameError for unknown names."""

    method: str = "quasimetric"
    """Name in `world_models.models.temporal.METHODS`."""
    price: str = "time"
    """One of `PRICES`."""
    reach: int = 8
    """Largest number of environment steps between the states of a pair."""
    embedding: int = 16
    width: int = 128
    depth: int = 2
    steps: int = 4000
    batch_size: int = 1024
    lr: float = 1e-3
    average: float = 0.998

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method not in METHODS:
            raise UnknownNameError("temporal method", self.method, METHODS)
        if self.price not in PRICES:
            raise UnknownNameError("price of a step", self.price, PRICES)
        require(self.reach >= 1, f"reach {self.reach} must be >= 1.")


class _TemporalModule(nn.Module):
    def __init__(self, cost: TemporalCost) -> None:
        super().__init__()
        self.cost = cost
        self.price = nn.Parameter(torch.tensor(3.0))


def temporal_stage(data: States, settings: TemporalSettings, about: str) -> tuple[TemporalCost, Stage]:
    """The head and the stage that trains it."""
    torch.manual_seed(settings.seed)
    cost = TemporalCost(TemporalConfig(data.states.shape[2], settings.embedding, settings.width, settings.depth))
    module = _TemporalModule(cost).to(data.states.device)
    costs = torch.ones_like(data.actions[..., 0]) if settings.price == "time" else data.actions.norm(dim=2)
    learn = method(settings.method)

    def make(step: int) -> Pairs:
        return data.pairs(settings.reach, settings.batch_size, costs, settings.seed, step)

    def loss(pairs: Pairs, generator: torch.Generator) -> Float[Tensor, ""]:
        return learn(cost, pairs, module.price)

    return cost, Stage("temporal", module, make, loss, settings, about)


@dataclass(frozen=True)
class ProbeSettings(LoopSettings):
    """Settings of training the probe, which predicts observations (labels) from frozen latents."""

    width: int = 128
    """Width of two hidden layers; 0 for a linear probe."""
    steps: int = 4000
    batch_size: int = 1024
    lr: float = 2e-3
    average: float = 0.998


def fit_probe(
    data: States, labels: Float[Tensor, "trajectories time observation"], settings: ProbeSettings, about: str
) -> tuple[Probe, Stage]:
    """The probe and the stage that trains it."""
    torch.manual_seed(settings.seed)
    probe = Probe(data.states.shape[2], labels.shape[2], settings.width)
    probe.mean.copy_(labels.mean((0, 1)))
    probe.std.copy_(labels.std((0, 1)).clamp_min(1e-6))
    probe = probe.to(labels.device)
    states, flat = data.states.flatten(0, 1), labels.flatten(0, 1)

    def make(step: int) -> tuple[Float[Tensor, "n state"], Float[Tensor, "n observation"]]:
        generator = torch.Generator().manual_seed(step_seed(settings.seed, step))
        rows = torch.randint(len(states), (settings.batch_size,), generator=generator).to(states.device)
        return states[rows], flat[rows]

    def loss(batch: tuple[Tensor, Tensor], generator: torch.Generator) -> Float[Tensor, ""]:
        return functional.smooth_l1_loss(probe.layers(batch[0]), (batch[1] - probe.mean) / probe.std, beta=0.05)

    return probe, Stage("probe", probe, make, loss, settings, about)
