"""Fitting of a state world model: minimises its unrolled prediction error in the training loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from world_models.errors import require
from world_models.models.mlp import MLPConfig, ResidualMLP
from world_models.seeding import step_seed
from world_models.training.data import Dataset
from world_models.training.loop import LoopSettings, Progress, Stage, run_stage

WindowBatch = tuple[Float[Tensor, "batch time_plus_one observation"], Float[Tensor, "batch time action"]]
"""Observations at model steps, and the action blocks between them."""


@dataclass(frozen=True)
class FitSettings:
    """Settings of fitting a state world model. Raises UserError for sizes below 1 and rates that are not positive."""

    unrolls: tuple[int, ...] = (1, 4, 16)
    """Model steps unrolled in the loss, stage by stage."""
    steps: tuple[int, ...] = (4000, 4000, 4000)
    """Gradient steps, stage by stage."""
    batch_size: int = 512
    lr: float = 2e-3
    weight_decay: float = 1e-4
    clip: float = 1.0
    """Largest gradient norm."""
    beta: float = 0.1
    """Threshold of smooth-L1 between squared and absolute error, in standard deviations of one step's change."""
    abrupt_share: float = 0.0
    """Fraction of every batch whose windows hold an abrupt change (a contact); these are rare and decide long predictions."""
    average: float = 0.999
    """Decay of the exponential average of the weights, which is the result; 0 gives the last weights."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(
            len(self.unrolls) == len(self.steps) > 0 and min(*self.unrolls, *self.steps, self.batch_size) >= 1,
            f"unrolls {self.unrolls}, steps {self.steps} and batch_size {self.batch_size} must be >= 1, one unroll per stage.",
        )
        require(
            self.lr > 0 and self.beta > 0 and self.clip > 0, f"lr {self.lr}, beta {self.beta} and clip {self.clip} must be > 0."
        )
        require(0 <= self.abrupt_share <= 1, f"abrupt_share {self.abrupt_share} must lie in [0, 1].")
        require(0 <= self.average < 1, f"average {self.average} must lie in [0, 1).")

    def unroll_at(self, step: int) -> int:
        """Unrolled model steps at a gradient step."""
        for unroll, steps in zip(self.unrolls, self.steps, strict=True):
            if step < steps:
                return unroll
            step -= steps
        return self.unrolls[-1]


def new_model(data: Dataset, config: MLPConfig, seed: int) -> ResidualMLP:
    """An untrained model with the data's normalisation."""
    observations = torch.from_numpy(data.observations)
    change = observations[:, config.action_block :] - observations[:, : -config.action_block]
    mean, std = observations.mean((0, 1)), observations.std((0, 1)).clamp_min(1e-6)
    return scaled_model(config, seed, mean, std, change.std((0, 1)).clamp_min(1e-6))


def scaled_model(
    config: MLPConfig,
    seed: int,
    mean: Float[Tensor, " observation"],
    std: Float[Tensor, " observation"],
    change: Float[Tensor, " observation"],
) -> ResidualMLP:
    """An untrained model for observations of this mean and deviation; `change` is the deviation of a model step's change."""
    torch.manual_seed(seed)
    model = ResidualMLP(config)
    model.set_normalisation(mean, std, change)
    return model


class Windows:
    """Random windows of a dataset on a device, which depend only on the step number, as resuming requires."""

    def __init__(self, data: Dataset, block: int, device: torch.device, seed: int, abrupt_share: float = 0.0) -> None:
        self.observations = torch.from_numpy(data.observations).to(device)
        self.actions = torch.from_numpy(data.actions).to(device)
        self.block = block
        self.seed = seed
        self.abrupt = abrupt_changes(data) if abrupt_share else torch.empty(0, 2, dtype=torch.long)
        self.abrupt_share = abrupt_share if len(self.abrupt) else 0.0

    def draw(self, step: int, batch: int, unroll: int) -> WindowBatch:
        """The windows of a gradient step, `unroll` model steps long."""
        generator = torch.Generator().manual_seed(step_seed(self.seed, step))
        length = unroll * self.block
        last = self.actions.shape[1] - length
        rows = torch.randint(len(self.actions), (batch, 1), generator=generator)
        starts = torch.randint(last + 1, (batch, 1), generator=generator)
        if abrupt_count := round(self.abrupt_share * batch):
            event = self.abrupt[torch.randint(len(self.abrupt), (abrupt_count,), generator=generator)]
            before = torch.randint(length, (abrupt_count, 1), generator=generator)
            rows[:abrupt_count] = event[:, :1]
            starts[:abrupt_count] = (event[:, 1:] - before).clamp(0, last)
        rows, starts = rows.to(self.actions.device), starts.to(self.actions.device)
        moments = starts + torch.arange(0, length + 1, self.block, device=starts.device)
        taken = starts + torch.arange(length, device=starts.device)
        actions = self.actions[rows, taken].reshape(batch, unroll, -1)
        return self.observations[rows, moments], actions


ABRUPT = 3.0
"""Standard deviations of one step's change above which a change is abrupt."""


def abrupt_changes(data: Dataset) -> Int[Tensor, "events two"]:
    """Trajectory and time of every step in which some feature changes abruptly."""
    change = torch.from_numpy(data.observations).diff(dim=1)
    scale = change.std((0, 1)).clamp_min(1e-6)
    return torch.nonzero(((change / scale).abs() > ABRUPT).any(-1))


def unrolled_loss(
    model: ResidualMLP,
    observations: Float[Tensor, "batch time_plus_one observation"],
    actions: Float[Tensor, "batch time action"],
    beta: float,
) -> Float[Tensor, ""]:
    """Smooth-L1 of the open-loop prediction, in standard deviations of one step's change."""
    target = model.encode(observations)
    state = target[:, 0]
    predicted = []
    for t in range(actions.shape[1]):
        state = torch.addcmul(state, model.delta_scale, model.delta(state, actions[:, t]))
        predicted.append(state)
    error = (torch.stack(predicted, 1) - target[:, 1:]) / model.delta_scale
    return functional.smooth_l1_loss(error, torch.zeros_like(error), beta=beta)


def fit(
    model: ResidualMLP,
    data: Dataset,
    settings: FitSettings,
    device: torch.device,
    resume_from: Path | None = None,
    progress: Progress | None = None,
    save_every: int = 1000,
) -> ResidualMLP:
    """Train `model` on `data`; the run is saved to `resume_from` every `save_every` steps, and resumes from there."""
    source = Windows(data, model.config.action_block, device, settings.seed, settings.abrupt_share)

    def make(step: int) -> WindowBatch:
        return source.draw(step, settings.batch_size, settings.unroll_at(step))

    return fit_batches(model, make, settings, device, resume_from, progress, save_every)


def fit_batches(
    model: ResidualMLP,
    make: Callable[[int], WindowBatch],
    settings: FitSettings,
    device: torch.device,
    resume_from: Path | None = None,
    progress: Progress | None = None,
    save_every: int = 1000,
    about: str = "",
    prefetch: bool = False,
) -> ResidualMLP:
    """Train `model` on the batches that `make` gives for each gradient step; with `prefetch`, a thread makes them ahead.

    `about` is everything else that determines the run, as for `fit`.
    """
    model = model.to(device)
    run_stage(state_stage(model, make, settings, save_every, about, prefetch), resume_from, progress)
    return model.requires_grad_(False)


def state_stage(
    model: ResidualMLP,
    make: Callable[[int], WindowBatch],
    settings: FitSettings,
    save_every: int = 1000,
    about: str = "",
    prefetch: bool = False,
) -> Stage:
    """The stage of the training loop that `fit_batches` runs."""

    def loss(batch: WindowBatch, generator: torch.Generator) -> Float[Tensor, ""]:
        observations, actions = (part.to(model.device) for part in batch)
        return unrolled_loss(model, observations, actions, settings.beta)

    total = sum(settings.steps)
    loop = LoopSettings(
        steps=total,
        batch_size=settings.batch_size,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        clip=settings.clip,
        average=settings.average,
        save_every=save_every,
        seed=settings.seed,
    )
    return Stage(
        "train",
        model,
        make,
        loss,
        loop,
        about=repr(asdict(settings)) + about,
        warm_up=0.05,
        schedule_steps=total,
        prefetch=prefetch,
        report_every=100,
    )
