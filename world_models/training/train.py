"""Training of a state model: collect data, fit, assess, write weights and card. A killed run resumes when started again."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from world_models.checkpoints import store as checkpoints
from world_models.checkpoints.ensemble_files import combine
from world_models.errors import require
from world_models.models.mlp import MLPConfig, StateGoalCost
from world_models.parts import Parts
from world_models.tasks import Task
from world_models.training.assess import goal_cost_rank_correlation, goal_weights, open_loop_errors
from world_models.training.data import Dataset, collect_cached
from world_models.training.fit_states import FitSettings, fit, new_model
from world_models.training.loop import Progress
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
) -> Path:
    """Train the world model `name` of `task` into the checkpoint folder `out` and return it.

    An interrupted run resumes where it last saved (`out/resume.pt`). `progress(stage, done, total, loss)` is called now
    and then.
    """
    if settings.ensemble > 1:
        return _train_ensemble(name, task, settings, out, progress, device, data_folder or out.parent / "data")
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    folder = data_folder or out.parent / "data"

    def collected(done: int, total: int) -> None:
        if progress is not None:
            progress("collect", done, total, float("nan"))

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
) -> Path:
    """Train the members one after another in separate folders, and combine them; finished members are not trained again."""
    started = time.monotonic()
    folders = []
    for k in range(settings.ensemble):
        own = replace(settings, ensemble=1, fit=replace(settings.fit, seed=settings.fit.seed + k))
        folder = out / "members" / f"{k:d}"
        if not _is_trained(folder, task, own):
            train(name, task, own, folder, _of_member(progress, k, settings.ensemble), device, data_folder)
        folders.append(folder)
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


def _of_member(progress: Progress | None, member: int, count: int) -> Progress | None:
    if progress is None:
        return None
    return lambda stage, done, total, loss: progress(f"{stage} {member + 1} of {count}", done, total, loss)


def held_out_data(task: Task, folder: Path, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Held-out windows of 100 environment steps (whole model steps), from rest and in motion, which cards report on."""
    length = 100 - 100 % task.action_block
    stride = 25 - 25 % task.action_block or task.action_block
    return collect_cached(task, 200, length + 2 * stride, HELD_OUT_SEED, folder, progress).windows(length, stride)
