"""Training of a state model: collect data, fit, assess, write weights and card. A killed run resumes when started again."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import torch

from world_models.checkpoints import store as checkpoints
from world_models.checkpoints.ensemble_files import combine
from world_models.errors import require
from world_models.files.names import inside
from world_models.files.writing import write_file
from world_models.models.mlp import MLPConfig, StateGoalCost
from world_models.parts import Parts
from world_models.tasks import Task
from world_models.training.assess import goal_cost_rank_correlation, goal_weights, open_loop_errors
from world_models.training.data import Dataset, collect_cached
from world_models.training.fit_states import FitSettings, fit, new_model
from world_models.training.loop import Progress
from world_models.training.machine.allocation import Allocation
from world_models.training.machine.pools import Pool, Report, Series
from world_models.training.settings_of import settings_of

HELD_OUT_SEED = 1_000_003
"""Data seed of the held-out trajectories, which cards and tests report on and no model is trained on."""


@dataclass(frozen=True)
class TrainSettings:
    """Data, sizes and fit of one state model. Raises UserError for invalid values."""

    trajectories: int = 2000
    length: int = 100
    """Environment steps of a trajectory."""
    data_seed: int = 0
    width: int = 256
    depth: int = 3
    activation: str = "relu"
    fit: FitSettings = field(default_factory=FitSettings)
    ensemble: int = 1
    """Number of members, trained with seeds from `fit.seed`; planners can put a price on their disagreement."""

    def __post_init__(self) -> None:
        check_training(self.trajectories, self.length, self.data_seed, self.ensemble)

    @staticmethod
    def of(values: Mapping[str, object]) -> TrainSettings:
        """Settings from a config mapping, in which `fit` is a mapping too. Raises UserError for unknown names."""
        return settings_of(TrainSettings, values, "train")


MOST_STEPS = 1_000_000_000
"""Most environment steps of a data set."""
MOST_MEMBERS = 100
"""Most members of an ensemble."""


def check_training(trajectories: int, length: int, data_seed: int, ensemble: int) -> None:
    """Raise UserError for invalid sizes of data or ensemble, and for the seed of the held-out trajectories."""
    whole = isinstance(ensemble, int) and not isinstance(ensemble, bool) and ensemble >= 1
    require(whole, f"ensemble {ensemble!r} is not a valid number of members: give 1 for a single model, or for example 5.")
    require(trajectories >= 1 and length >= 2, f"trajectories {trajectories} must be >= 1 and length {length} >= 2.")
    require(
        trajectories * length <= MOST_STEPS, f"{trajectories} trajectories of {length} steps are more than {MOST_STEPS} steps."
    )
    require(ensemble <= MOST_MEMBERS, f"ensemble {ensemble} is too large: give at most {MOST_MEMBERS} members.")
    require(data_seed != HELD_OUT_SEED, f"data_seed {data_seed} is reserved for held-out trajectories: choose another one.")


def train(
    name: str,
    task: Task,
    settings: TrainSettings,
    out: Path,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
    data_folder: Path | None = None,
    pool: Pool | None = None,
) -> Path:
    """Train the world model `name` of `task` into the checkpoint folder `out` and return it.

    An interrupted run resumes where it last saved (`out/resume.pt`). `progress(stage, done, total, loss)` is called now
    and then. The members of an ensemble are trained by `pool`, without which they are trained here, one after another.
    """
    if settings.ensemble > 1:
        folder = data_folder or out.parent / "data"
        return _train_ensemble(name, task, settings, out, progress, device, folder, pool or Series())
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    folder = data_folder or out.parent / "data"
    collected = _collected(progress)
    data = collect_cached(task, settings.trajectories, settings.length, settings.data_seed, folder, collected)
    held_out = held_out_data(task, folder, collected)
    collect_seconds = time.monotonic() - started
    config = MLPConfig(
        task.observation_dim, task.action_dim, task.action_block, settings.width, settings.depth, settings.activation
    )
    model = new_model(data, config, settings.fit.seed)
    resume = out / "resume.pt"
    model = fit(model, data, settings.fit, torch.device(device), resume, progress)
    weights = goal_weights(task, model)
    goal_cost = StateGoalCost(weights).to(model.device)
    card = {
        "dynamics": dict(task.dynamics),
        "training": asdict(settings),
        "data": {"digest": data.digest, "trajectories": len(data.actions), "steps": data.actions[..., 0].size},
        "seconds": {"collect": round(collect_seconds, 1), "all": round(time.monotonic() - started, 1)},
        "open_loop_error": open_loop_errors(model, model.decode, task, held_out),
        "goal_cost_rank_correlation": goal_cost_rank_correlation(model, goal_cost, task, held_out),
    }
    path = checkpoints.save(out, name, model, weights, card)
    resume.unlink(missing_ok=True)
    return path


def _train_ensemble(
    name: str,
    task: Task,
    settings: TrainSettings,
    out: Path,
    progress: Progress | None,
    device: torch.device | str,
    data_folder: Path,
    pool: Pool,
) -> Path:
    """Train the members in separate folders, and combine them; finished members are not trained again."""
    started = time.monotonic()
    members = [
        replace(settings, ensemble=1, fit=replace(settings.fit, seed=settings.fit.seed + k)) for k in range(settings.ensemble)
    ]
    folders = [out / "members" / f"{k:d}" for k in range(settings.ensemble)]
    missing = [k for k in range(settings.ensemble) if not _is_trained(folders[k], task, members[k])]
    if missing:
        # The members read the data that this makes, and do not all collect them.
        collect_cached(task, settings.trajectories, settings.length, settings.data_seed, data_folder, _collected(progress))
        held_out_data(task, data_folder, _collected(progress))
    own = Allocation.current(device)
    jobs = [TrainJob(train, name, task, members[k], folders[k], own, data_folder) for k in missing]
    train_apart(jobs, pool, _of_member(progress, missing, settings.ensemble))
    held_out = held_out_data(task, data_folder)

    def described(parts: Parts) -> Mapping[str, object]:
        """Entries of the ensemble's card."""
        model, decode = parts.model, parts.decode
        assert decode is not None, "state models have a decoder"
        return {
            "training": asdict(settings),
            "data": checkpoints.read_card(str(folders[0]))[0]["data"],
            "seconds": {"all": round(time.monotonic() - started, 1)},
            "open_loop_error": open_loop_errors(model, decode, task, held_out),
            "goal_cost_rank_correlation": goal_cost_rank_correlation(
                model, parts.goal_costs[parts.default_goal_cost], task, held_out
            ),
        }

    change_scale = checkpoints.read_tensors(str(folders[0]))["delta_scale"]
    path = combine(out, name, folders, change_scale, described)
    shutil.rmtree(out / "members")
    return path


def _is_trained(folder: Path, task: Task, settings: TrainSettings) -> bool:
    """Whether a member's folder holds a model trained with these settings."""
    if not (folder / "card.json").is_file():
        return False
    card, _ = checkpoints.read_card(str(folder))
    return [card["training"], card["dynamics"]] == json.loads(json.dumps([asdict(settings), dict(task.dynamics)]))


def _of_member(progress: Progress | None, members: Sequence[int], count: int) -> Report | None:
    if progress is None:
        return None
    return lambda job, stage, done, total, loss: progress(f"{stage} {members[job] + 1} of {count}", done, total, loss)


def _collected(progress: Progress | None) -> Callable[[int, int], None]:
    def collected(done: int, total: int) -> None:
        if progress is not None:
            progress("collect", done, total, float("nan"))

    return collected


@dataclass(frozen=True)
class TrainJob:
    """One model to train, wherever a pool does it."""

    train: Callable[..., Path]
    """`train`, or the function of another recipe with the same arguments."""
    name: str
    task: Task
    settings: object
    """The recipe's settings."""
    folder: Path
    allocation: Allocation
    data_folder: Path
    mark: str = ""
    """Name of a file beside the folder, by which another machine recognises that it has the same disk."""


def train_apart(jobs: Sequence[TrainJob], pool: Pool, report: Report | None = None) -> None:
    """Train single models by a pool; their checkpoints are in their folders then, on this machine."""
    for job in jobs:
        job.folder.parent.mkdir(parents=True, exist_ok=True)
    marks = {job.folder.parent: inside(job.folder.parent, f"training-{uuid4().hex}") for job in jobs}
    try:
        for mark in marks.values():
            mark.touch()
        marked = [replace(job, mark=marks[job.folder.parent].name) for job in jobs]
        for job, files in zip(jobs, pool.run(train_job, marked, report), strict=True):
            for file, content in sorted(files.items(), reverse=True):  # the card is last, as ever
                write_file(inside(job.folder, file), content)
    finally:
        for mark in marks.values():
            mark.unlink(missing_ok=True)


def train_job(job: TrainJob, progress: Progress) -> Mapping[str, bytes]:
    """Train a job's model, in a folder of this machine's own if it does not have the job's; the files of its checkpoint.

    Files are empty where the folder is the job's own.
    """
    with job.allocation.used() as device:
        if (job.folder.parent / job.mark).exists():
            job.train(job.name, job.task, job.settings, job.folder, progress, device, job.data_folder)
            return {}
        with TemporaryDirectory() as own:
            made = job.train(job.name, job.task, job.settings, Path(own) / job.name, progress, device)
            return {file: (made / file).read_bytes() for file in ("model.safetensors", "card.json")}


def held_out_data(task: Task, folder: Path, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Held-out windows of 100 environment steps (whole model steps), from rest and in motion, which cards report on."""
    length = 100 - 100 % task.action_block
    stride = 25 - 25 % task.action_block or task.action_block
    return collect_cached(task, 200, length + 2 * stride, HELD_OUT_SEED, folder, progress).windows(length, stride)
