"""Training of a pixel model in stages: encoder, predictor on frozen latents, goal costs on frozen latents; then its card.

Only the first stage sees images. After it every frame is encoded once, and long predictions are learned cheaply on latents.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from world_models.base import GoalCost, SquaredDistance
from world_models.checkpoints import store as checkpoints
from world_models.checkpoints.ensemble_files import combine
from world_models.errors import require
from world_models.files.names import inside
from world_models.models.jepa import JEPA, JEPAConfig, Predictor
from world_models.models.probe import Probe, ProbeCost
from world_models.models.temporal import TemporalCost
from world_models.parts import PREFIX, Parts
from world_models.sensors import Sensors
from world_models.tasks import Task
from world_models.training.align import align
from world_models.training.encoder_stage import EncoderStage
from world_models.training.frames import Frames, PictureData, collect_frames
from world_models.training.latent_stages import (
    PredictorSettings,
    fit_probe,
    predictor_stage,
    temporal_stage,
)
from world_models.training.loop import LoopReport, Progress, Stage, run_stage
from world_models.training.machine.allocation import Allocation
from world_models.training.machine.pools import Pool, Series
from world_models.training.pixel_card import encode_frames, pixel_card
from world_models.training.pixel_settings import PixelTrainSettings
from world_models.training.train import HELD_OUT_SEED
from world_models.training.windows import States

FORMAT = f"{PREFIX}jepa/1"
HELD_OUT = 100
"""Number of held-out trajectories that cards report on."""


def train_pixels(
    name: str,
    task: Task,
    settings: PixelTrainSettings,
    out: Path,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
    data_folder: Path | None = None,
    pool: Pool | None = None,
) -> Path:
    """Train the pixel model `name` of `task` into the checkpoint folder `out` and return it.

    An interrupted or killed run resumes where it last saved (`out/resume-*.pt`). `progress(stage, done, total, loss)` is called
    now and then. The predictors of an ensemble are trained by `pool`, which has to be on this machine; without one they are
    trained here, one after another.
    """
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    folder = data_folder or out.parent / "data"

    def collect(trajectories: int, seed: int) -> Frames:
        def collected(done: int, total: int) -> None:
            if progress is not None:
                progress("collect", done, total, float("nan"))

        return collect_frames(task, trajectories, settings.length, seed, settings.size, folder, collected)

    frames = collect(settings.trajectories, settings.data_seed)
    held_out = collect(HELD_OUT, HELD_OUT_SEED)
    collect_seconds = time.monotonic() - began
    trainer = PixelTrainer(task, settings, torch.device(device), out, progress, pool)
    data = {"digest": frames.digest, "trajectories": frames.trajectories, "frames": frames.count}
    return train_and_save(
        name,
        out,
        trainer,
        frames,
        lambda parts: pixel_card(parts, task, settings, held_out),
        data,
        {"collect": collect_seconds},
    )


def train_and_save(
    name: str,
    out: Path,
    trainer: PixelTrainer,
    frames: PictureData,
    describe: Callable[[Parts], Mapping[str, object]],
    data: Mapping[str, object],
    seconds: Mapping[str, float],
) -> Path:
    """Run all stages and write the checkpoint folder `out`, with what `describe` measures and `data` on its card.

    `seconds` are those spent before, by what they were spent on.
    """
    began = time.monotonic()
    trained = trainer.train(frames)
    spent = time.monotonic() - began + sum(seconds.values()) + sum(report.earlier for report in trainer.reports.values())
    facts = {
        "dynamics": dict(trainer.task.dynamics),
        "training": asdict(trainer.settings),
        "data": data,
        "seconds": {**{part: round(value, 1) for part, value in seconds.items()}, "all": round(spent, 1)},
        "loss_curves": {stage: [round(loss, 5) for loss in report.curve] for stage, report in trainer.reports.items()},
    }
    if len(trained) == 1:
        path = save(out, name, trained[0], {**facts, **describe(trained[0].parts())})
    else:
        path = _save_ensemble(out, name, trained, facts, describe)
    for left in out.glob("resume-*.pt"):
        left.unlink()
    return path


@dataclass(frozen=True)
class TrainedPixels:
    """A trained pixel model and its goal costs."""

    model: JEPA
    temporal: TemporalCost | None
    probe: Probe
    probe_cost: ProbeCost
    goal_cost: str

    def parts(self) -> Parts:
        """The model as a checkpoint's parts."""
        costs: dict[str, GoalCost] = {"latent": SquaredDistance(), "probe": self.probe_cost}
        if self.temporal is not None:
            costs["temporal"] = self.temporal
        config = self.model.config
        return Parts(self.model, costs, self.goal_cost, self.probe, Sensors("pixels", config.size, config.proprioception))


def save(folder: Path, name: str, trained: TrainedPixels, card: Mapping[str, object]) -> Path:
    """Write the checkpoint folder of a pixel model."""
    model, temporal = trained.model, trained.temporal
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"probe_cost.{key}": value for key, value in trained.probe_cost.state_dict().items()}
    config: dict[str, object] = {**asdict(model.config), "probe_width": trained.probe.width}
    if temporal is not None:
        tensors |= {f"temporal.{key}": value for key, value in temporal.state_dict().items()}
        config["temporal"] = asdict(temporal.config)
    parts = trained.parts()
    facts = {"sensors": parts.sensors.as_card(), "goal_costs": list(parts.goal_costs), "goal_cost": trained.goal_cost}
    return checkpoints.write(folder, FORMAT, name, config, tensors, {**facts, **card})


def _save_ensemble(
    out: Path,
    name: str,
    trained: Sequence[TrainedPixels],
    facts: Mapping[str, object],
    describe: Callable[[Parts], Mapping[str, object]],
) -> Path:
    """Write models that differ only in their predictors as one ensemble."""
    with tempfile.TemporaryDirectory(dir=out) as folder:
        members = [Path(folder) / f"{k:d}" for k in range(len(trained))]
        for member, each in zip(members, trained, strict=True):
            save(member, name, each, {"dynamics": facts["dynamics"]})
        scale = trained[0].model.delta_scale
        return combine(out, name, members, scale, lambda parts: {**facts, **describe(parts)})


@dataclass(frozen=True)
class PredictorJob:
    """One predictor to train on frozen latents."""

    name: str
    model: JEPA
    data: States
    settings: PredictorSettings
    about: str
    saved: Path | None
    allocation: Allocation


def train_predictor(job: PredictorJob, progress: Progress) -> tuple[Mapping[str, Tensor], LoopReport]:
    """Train a job's predictor; the state of its model and the report."""
    stage = replace(predictor_stage(job.model, job.data, job.settings, job.about), name=job.name)
    with job.allocation.used():
        report = run_stage(stage, job.saved, progress)
    return job.model.state_dict(), report


class PixelTrainer:
    """Runner of the stages, each of which resumes where it last saved."""

    def __init__(
        self,
        task: Task,
        settings: PixelTrainSettings,
        device: torch.device,
        folder: Path | None,
        progress: Progress | None,
        pool: Pool | None = None,
    ) -> None:
        self.task, self.settings, self.device, self.folder, self.progress = task, settings, device, folder, progress
        self._pool = pool or Series()
        self.reports: dict[str, LoopReport] = {}
        """Report of each stage."""

    def train(self, frames: PictureData) -> tuple[TrainedPixels, ...]:
        """Run all stages; returns one model, or the members of an ensemble, which differ only in their predictors."""
        settings = self.settings
        model = self.encoder(frames)
        labels = torch.from_numpy(frames.observations.copy()).to(self.device)
        states = encode_frames(model, frames)
        if settings.align:
            torch.manual_seed(settings.predictor.seed)
            latents = align(model, states[..., : model.config.latent], labels)
            states = torch.cat([latents, states[..., model.config.latent :]], 2)
        states = model.calibrate(states)
        data = States(states, torch.from_numpy(frames.actions.copy()).to(self.device), self.task.action_block)
        about = frames.digest + _digest(model)
        models = self._predictors(model, data, about)
        temporal = None
        if settings.temporal is not None:
            temporal, stage = temporal_stage(data, settings.temporal, about)
            self._run(stage)
            temporal.calibrate(states)
            temporal.requires_grad_(False)
        probe, stage = fit_probe(data, labels, settings.probe, about)
        self._run(stage)
        probe.requires_grad_(False)
        weights = torch.from_numpy(1.0 / self.task.goal_tolerance**2).float()
        cost = ProbeCost(probe, weights / (weights * probe.std.cpu().square()).mean())
        cost = cost.to(self.device)
        return tuple(TrainedPixels(model, temporal, probe, cost, settings.goal_cost) for model in models)

    def _predictors(self, model: JEPA, data: States, about: str) -> list[JEPA]:
        """The model with its predictor trained, and copies with predictors trained from other initial weights."""
        models = [model]
        for k in range(1, self.settings.ensemble):
            torch.manual_seed(self.settings.predictor.seed + k)
            other = deepcopy(model)
            other.predictor = Predictor(model.config).to(self.device)
            models.append(other)
        jobs = []
        for k, each in enumerate(models):
            settings = replace(self.settings.predictor, seed=self.settings.predictor.seed + k)
            name = "predictor" if k == 0 else f"predictor-{k + 1}"
            allocation = Allocation.current(self.device)
            jobs.append(PredictorJob(name, each, data, settings, about, self._saved(name), allocation))
        for job, (trained, report) in zip(jobs, self._pool.run(train_predictor, jobs, self._report), strict=True):
            job.model.load_state_dict(trained)
            self.reports[job.name] = report
        return [each.requires_grad_(False).eval() for each in models]

    def _report(self, job: int, stage: str, done: int, total: int, loss: float) -> None:
        if self.progress is not None:
            self.progress(stage, done, total, loss)

    def _saved(self, name: str) -> Path | None:
        return None if self.folder is None else inside(self.folder, f"resume-{name}.pt")

    def encoder(self, frames: PictureData) -> JEPA:
        """Run the first stage; the returned model's predictor is not fully trained."""
        settings, task = self.settings, self.task
        torch.manual_seed(settings.encoder.seed)
        senses = frames.proprioception.shape[2] if settings.proprioception else 0
        sizes = {
            "action_dim": task.action_dim,
            "action_block": task.action_block,
            "size": settings.size,
            "proprioception": senses,
        }
        model = JEPA(JEPAConfig(**{**settings.model, **sizes}))  # pyright: ignore[reportArgumentType]
        _check_length(frames, model, settings)
        stage = EncoderStage(model, frames, settings.encoder).to(self.device)
        self._run(stage.stage(repr((frames.digest, asdict(model.config)))))
        return model

    def _run(self, stage: Stage) -> None:
        self.reports[stage.name] = run_stage(stage, self._saved(stage.name), self.progress)


def _check_length(frames: PictureData, model: JEPA, settings: PixelTrainSettings) -> None:
    """Raise UserError for trajectories that are shorter than the windows that are learned from."""
    steps = max(*settings.predictor.unrolls, model.history - 1 + settings.encoder.unroll) * model.config.action_block
    require(
        frames.length >= steps,
        f"train.length {frames.length} is below the {steps} environment steps of the longest window: raise it to {steps}, or "
        "shorten train.predictor.unrolls and train.encoder.unroll.",
    )


def _digest(model: JEPA) -> str:
    """Digest of the trained encoder, on which later stages depend."""
    content = hashlib.sha256()
    for key, value in model.state_dict().items():
        if not key.startswith("predictor."):
            content.update(value.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]
