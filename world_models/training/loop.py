"""The training loop of pixel models: one loop for every stage; a killed run goes on where it saved."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from world_models.errors import require
from world_models.training.fit_states import Progress
from world_models.training.prefetch import Prefetch

Batch = TypeVar("Batch")

CURVE = 50
"""The loss curve has a point every so many steps: their mean."""


@dataclass(frozen=True)
class LoopSettings:
    """How the parameters of one stage are fitted. Raises UserError for sizes below 1 and rates that are not positive."""

    steps: int = 2000
    batch_size: int = 128
    lr: float = 2e-3
    weight_decay: float = 1e-4
    clip: float = 1.0
    """Largest gradient norm."""
    average: float = 0.99
    """Decay of the exponential average of the weights that is kept; 0 keeps the last weights."""
    save_every: int = 200
    """Gradient steps between two savings: what a killed run loses at most."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "save_every"):
            require(getattr(self, name) >= 1, f"{name} {getattr(self, name)!r} must be >= 1.")
        require(self.lr > 0 and self.clip > 0, f"lr {self.lr} and clip {self.clip} must be > 0.")
        require(0 <= self.average < 1, f"average {self.average} must lie in [0, 1).")


@dataclass
class LoopReport:
    """What a stage did."""

    curve: list[float] = field(default_factory=list)
    """Mean loss of every `CURVE` steps, of the whole stage however often it was interrupted."""
    seconds: float = 0.0
    """Of this process."""
    earlier: float = 0.0
    """Seconds that killed runs spent until they saved."""
    waited: float = 0.0
    """Seconds that the loop waited for batches."""
    steps: int = 0
    """Steps that this process did."""


@dataclass(frozen=True)
class Stage:
    """What distinguishes one stage from another."""

    name: str
    module: nn.Module
    """Everything that is trained, and all buffers that training changes."""
    make: Callable[[int], Any]
    """The batch of a step: depends on nothing but the step number."""
    loss: Callable[[Any, torch.Generator], Float[Tensor, ""]]
    """The loss of a batch; the generator is for what is drawn at random, seeded by the step number."""
    settings: LoopSettings
    about: str = ""
    """What else determines the run (data, other settings): an interrupted run is taken up only where this is the same."""


def run_stage(stage: Stage, folder: Path | None = None, progress: Progress | None = None) -> LoopReport:
    """Train a stage's module; it ends with the average of its weights.

    State is kept in `folder/resume-NAME.pt` every `save_every` steps and at the end; a finished stage returns at once.
    """
    settings = stage.settings
    run = _Run(stage)
    path = None if folder is None else folder / f"resume-{stage.name}.pt"
    first = run.resume(path)
    began = time.monotonic()
    with Prefetch(stage.make, first, settings.steps) as batches:
        for step, batch in enumerate(batches, first):
            run.train(step, batch)
            if progress is not None and (step % CURVE == CURVE - 1 or step + 1 == settings.steps):
                progress(stage.name, step + 1, settings.steps, run.report.curve[-1] if run.report.curve else run.recent[-1])
            if path is not None and (step % settings.save_every == settings.save_every - 1 or step + 1 == settings.steps):
                run.save(path, step + 1)
        run.report.waited = batches.waited
    run.report.seconds, run.report.steps = time.monotonic() - began, settings.steps - first
    run.finish()
    return run.report


class _Run:
    """A stage under way: optimiser, schedule, average of the weights and loss curve."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._settings = stage, stage.settings
        self._trained = {name: p for name, p in stage.module.named_parameters() if p.requires_grad}
        self._average = {name: p.detach().clone() for name, p in self._trained.items()}
        parameters = list(self._trained.values())
        settings = self._settings
        self._optimiser = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        total = max(settings.steps, 2)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self._optimiser, settings.lr, total_steps=total + 1, pct_start=0.1)
        self.report = LoopReport()
        self.recent: list[float] = []
        self._began = time.monotonic()

    def train(self, step: int, batch: Any) -> None:
        """One gradient step."""
        generator = torch.Generator().manual_seed(self._settings.seed * 1_000_003 + step)
        loss = self._stage.loss(batch, generator)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._trained.values(), self._settings.clip)
        self._optimiser.step()
        self._schedule.step()
        decay = min(self._settings.average, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, parameter in self._trained.items():
                self._average[name].lerp_(parameter, 1 - decay)
        self.recent.append(loss.item())
        if len(self.recent) == CURVE:
            self.report.curve.append(sum(self.recent) / CURVE)
            self.recent.clear()

    def finish(self) -> None:
        """Put the averaged weights in place."""
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(self._average[name])

    def save(self, path: Path, step: int) -> None:
        """Write all that determines how the run goes on, whole or not at all."""
        state = {
            "step": step,
            "settings": self._identity(),
            "module": self._stage.module.state_dict(),
            "average": self._average,
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "curve": self.report.curve,
            "recent": self.recent,
            "seconds": self.report.earlier + time.monotonic() - self._began,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(path)

    def resume(self, path: Path | None) -> int:
        """First step to do: 0, or where an interrupted run of the same settings saved."""
        if path is None or not path.exists():
            return 0
        state = torch.load(path, weights_only=True, map_location="cpu")
        if state["settings"] != self._identity():
            return 0
        self._stage.module.load_state_dict(state["module"])
        for name, value in state["average"].items():
            self._average[name].copy_(value)
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self.report.curve, self.recent, self.report.earlier = state["curve"], state["recent"], state["seconds"]
        return int(state["step"])

    def _identity(self) -> str:
        return repr((self._stage.name, asdict(self._settings), self._stage.about))
