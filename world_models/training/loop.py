"""The training loop of every model: AdamW with a one-cycle schedule and averaged weights; killed runs resume."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from world_models.errors import require
from world_models.files.reading import SpoiltFileError
from world_models.files.writing import write_file
from world_models.seeding import step_seed
from world_models.training.prefetch import Prefetch

Progress = Callable[[str, int, int, float], None]
"""Callback with (stage, steps done, total steps, loss)."""

CURVE = 50
"""Steps per point of the loss curve, which is their mean."""


@dataclass(frozen=True)
class LoopSettings:
    """Settings of a stage's optimisation. Raises UserError for sizes below 1 and rates that are not positive."""

    steps: int = 2000
    batch_size: int = 128
    lr: float = 2e-3
    weight_decay: float = 1e-4
    clip: float = 1.0
    """Largest gradient norm."""
    average: float = 0.99
    """Decay of the exponential average of the weights, which is the result; 0 gives the last weights."""
    save_every: int = 200
    """Gradient steps between two saves, which a killed run loses at most."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "save_every"):
            require(getattr(self, name) >= 1, f"{name} {getattr(self, name)!r} must be >= 1.")
        require(self.lr > 0 and self.clip > 0, f"lr {self.lr} and clip {self.clip} must be > 0.")
        require(0 <= self.average < 1, f"average {self.average} must lie in [0, 1).")


@dataclass
class LoopReport:
    """Losses and times of a stage."""

    curve: list[float] = field(default_factory=list)
    """Mean loss of every `CURVE` steps over the whole stage, including interrupted runs."""
    seconds: float = 0.0
    """Seconds that this process spent."""
    earlier: float = 0.0
    """Seconds that killed runs spent up to their last save."""
    waited: float = 0.0
    """Seconds that the loop waited for prefetched batches."""
    steps: int = 0
    """Steps that this process took."""


@dataclass(frozen=True)
class Stage:
    """A module to train, with its batches, loss and settings."""

    name: str
    module: nn.Module
    """All parameters to train, and all buffers that training changes."""
    make: Callable[[int], Any]
    """The batch of a step, which depends only on the step number."""
    loss: Callable[[Any, torch.Generator], Float[Tensor, ""]]
    """The loss of a batch; the generator, seeded by the step number, is for random draws."""
    settings: LoopSettings
    about: str = ""
    """Everything else that determines the run (data, other settings): an interrupted run resumes only if this is the same."""
    warm_up: float = 0.1
    """Fraction of the schedule in which the learning rate rises."""
    schedule_steps: int | None = None
    """Length of the learning-rate schedule in steps; None: one more than the stage has, and at least 3."""
    prefetch: bool = True
    """Whether a thread makes batches ahead of the loop; not worth it for cheap batches."""
    report_every: int = CURVE
    """Steps between calls of the progress callback."""

    @property
    def identity(self) -> str:
        """Text by which a saved run is recognised as one of this stage."""
        return repr((self.name, asdict(self.settings), self.about))


def run_stage(stage: Stage, resume_from: Path | None = None, progress: Progress | None = None) -> LoopReport:
    """Train a stage's module, which ends up with the average of its weights.

    The run is saved to the file `resume_from` every `save_every` steps and at the end, and resumes from it; a finished stage
    returns at once.
    """
    settings = stage.settings
    run = _Run(stage)
    first = run.resume(resume_from)
    began = time.monotonic()
    with _batches(stage, first, run.report) as batches:
        for step, batch in enumerate(batches, first):
            run.train(step, batch)
            done, ends = step + 1, step + 1 == settings.steps
            if progress is not None and (done % stage.report_every == 0 or ends):
                progress(stage.name, done, settings.steps, run.latest_loss())
            if resume_from is not None and (done % settings.save_every == 0 or ends):
                run.save(resume_from, done)
    run.report.seconds, run.report.steps = time.monotonic() - began, settings.steps - first
    run.finish()
    return run.report


@contextmanager
def _batches(stage: Stage, first: int, report: LoopReport) -> Iterator[Iterator[Any]]:
    """The batches of steps from `first`, prefetched if the stage says so."""
    if not stage.prefetch:
        yield map(stage.make, range(first, stage.settings.steps))
        return
    with Prefetch(stage.make, first, stage.settings.steps) as batches:
        yield iter(batches)
        report.waited = batches.waited


class _Run:
    """A stage in progress: optimiser, schedule, average of the weights and loss curve."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._settings = stage, stage.settings
        self._trained = {name: p for name, p in stage.module.named_parameters() if p.requires_grad}
        self._average = {name: p.detach().clone() for name, p in self._trained.items()}
        parameters = list(self._trained.values())
        settings = self._settings
        self._optimiser = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        total = stage.schedule_steps or max(settings.steps, 2) + 1
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, settings.lr, total_steps=total, pct_start=stage.warm_up
        )
        self.report = LoopReport()
        self._recent: list[Tensor | float] = []
        """Losses since the last point of the curve; on the device until they are needed."""
        self._began = time.monotonic()

    def train(self, step: int, batch: Any) -> None:
        """Take one gradient step."""
        generator = torch.Generator().manual_seed(step_seed(self._settings.seed, step))
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
        self._recent.append(loss.detach())
        if len(self._recent) == CURVE:
            self.report.curve.append(sum(float(value) for value in self._recent) / CURVE)
            self._recent.clear()

    def latest_loss(self) -> float:
        """The last point of the curve, or the last loss if there is none."""
        return self.report.curve[-1] if self.report.curve else float(self._recent[-1])

    def finish(self) -> None:
        """Set the module's parameters to the averaged weights."""
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(self._average[name])

    def save(self, path: Path, step: int) -> None:
        """Write everything that determines the rest of the run, atomically."""
        state = {
            "step": step,
            "settings": self._stage.identity,
            "module": self._stage.module.state_dict(),
            "average": self._average,
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "curve": self.report.curve,
            "recent": [float(value) for value in self._recent],
            "seconds": self.report.earlier + time.monotonic() - self._began,
        }
        # Through memory, because a full disk makes torch's own writer raise errors without the system's reason.
        stream = io.BytesIO()
        torch.save(state, stream)
        write_file(path, stream.getvalue())

    def resume(self, path: Path | None) -> int:
        """Restore a saved run of the same stage if there is one; returns the first step to take."""
        if path is None or not path.exists():
            return 0
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
            if state["settings"] != self._stage.identity:
                return 0
            self._stage.module.load_state_dict(state["module"])
            for name, value in state["average"].items():
                self._average[name].copy_(value)
            self._optimiser.load_state_dict(state["optimiser"])
            self._schedule.load_state_dict(state["schedule"])
            self.report.curve, self._recent, self.report.earlier = state["curve"], state["recent"], state["seconds"]
            return int(state["step"])
        # Damaged bytes make torch raise errors of a dozen classes.
        except Exception as error:
            raise SpoiltFileError(
                f"{str(path)!r} holds no run to go on with ({type(error).__name__}): remove it, and training begins again."
            ) from error
