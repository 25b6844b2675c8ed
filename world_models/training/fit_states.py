"""The training loop: unrolled prediction error of a state world model, by AdamW with a cosine schedule; it resumes."""

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
from world_models.training.data import Dataset

Progress = Callable[[str, int, int, float], None]
"""Called with (stage, done, total, loss)."""


@dataclass(frozen=True)
class FitSettings:
    """How a state world model is trained. Raises UserError for sizes below 1 and rates that are not positive."""

    unrolls: tuple[int, ...] = (1, 4, 16)
    """Model steps unrolled in the loss, stage by stage."""
    steps: tuple[int, ...] = (4000, 4000, 4000)
    """Gradient steps of each stage."""
    batch_size: int = 512
    lr: float = 2e-3
    weight_decay: float = 1e-4
    clip: float = 1.0
    """Largest gradient norm."""
    beta: float = 0.1
    """Where smooth-L1 turns from square to absolute, in standard deviations of one step's change."""
    abrupt_share: float = 0.0
    """Share of every batch whose window holds an abrupt change (a contact), which are rare and decide long predictions."""
    average: float = 0.999
    """Decay of the exponential average of the weights that is kept; 0 keeps the last weights."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(
            len(self.unrolls) == len(self.steps) > 0 and min(*self.unrolls, *self.steps, self.batch_size) >= 1,
            f"unrolls {self.unrolls}, steps {self.steps} and batch_size {self.batch_size} must be >= 1, one unroll a stage.",
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
    torch.manual_seed(seed)
    model = ResidualMLP(config)
    observations = torch.from_numpy(data.observations)
    change = observations[:, config.action_block :] - observations[:, : -config.action_block]
    mean, std = observations.mean((0, 1)), observations.std((0, 1)).clamp_min(1e-6)
    model.set_normalisation(mean, std, change.std((0, 1)).clamp_min(1e-6))
    return model


class Windows:
    """Random windows of a dataset on a device, drawn by step number alone (so that a resumed run sees the same ones)."""

    def __init__(self, data: Dataset, block: int, device: torch.device, seed: int, abrupt_share: float = 0.0) -> None:
        self.observations = torch.from_numpy(data.observations).to(device)
        self.actions = torch.from_numpy(data.actions).to(device)
        self.block = block
        self.seed = seed
        self.abrupt = abrupt_changes(data) if abrupt_share else torch.empty(0, 2, dtype=torch.long)
        self.abrupt_share = abrupt_share if len(self.abrupt) else 0.0

    def draw(
        self, step: int, batch: int, unroll: int
    ) -> tuple[Float[Tensor, "batch time_plus_one observation"], Float[Tensor, "batch time action"]]:
        """Observations at model steps and the blocks of actions between them."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
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
"""A change of more than this many standard deviations of one step's change is abrupt."""


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
    """Train `model` on `data`; state is kept in `resume_from` every `save_every` steps, and taken up from there."""
    model = model.to(device)
    average = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    total = sum(settings.steps)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.lr, total_steps=total, pct_start=0.05)
    first = _resume(resume_from, settings, model, average, optimiser, schedule)
    source = Windows(data, model.config.action_block, device, settings.seed, settings.abrupt_share)
    for step in range(first, total):
        observations, actions = source.draw(step, settings.batch_size, settings.unroll_at(step))
        loss = unrolled_loss(model, observations, actions, settings.beta)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimiser.step()
        schedule.step()
        _update_average(average, model, min(settings.average, (step + 1) / (step + 10)))
        if progress is not None and (step % 100 == 99 or step + 1 == total):
            progress("train", step + 1, total, loss.item())
        if resume_from is not None and step % save_every == save_every - 1:
            _save(resume_from, step + 1, settings, model, average, optimiser, schedule)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(average[name])
    return model.requires_grad_(False)


@torch.no_grad()
def _update_average(average: dict[str, Tensor], model: ResidualMLP, decay: float) -> None:
    for name, parameter in model.named_parameters():
        average[name].lerp_(parameter, 1 - decay)


def _save(path: Path, step: int, settings: FitSettings, model, average, optimiser, schedule) -> None:
    state = {
        "step": step,
        "settings": repr(asdict(settings)),
        "model": model.state_dict(),
        "average": average,
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),
    }
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def _resume(path: Path | None, settings: FitSettings, model, average, optimiser, schedule) -> int:
    """First step to do: 0, or where an interrupted run with the same settings stopped."""
    if path is None or not path.exists():
        return 0
    state = torch.load(path, weights_only=True, map_location=model.device)
    if state["settings"] != repr(asdict(settings)):
        return 0
    model.load_state_dict(state["model"])
    for name, value in state["average"].items():
        average[name].copy_(value)
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    return state["step"]
