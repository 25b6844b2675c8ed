"""Training of a state model from recorded episodes. No simulator runs; a killed run resumes when started again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from world_models.base import Decode, GoalCost, WorldModel
from world_models.checkpoints import store as checkpoints
from world_models.datasets import Episodes, open_dataset, split_episodes
from world_models.datasets.problems.columns import Columns, columns_for
from world_models.errors import require
from world_models.models.mlp import MLPConfig, StateGoalCost
from world_models.tasks import Task
from world_models.training.assess import goal_cost_rank_correlation, goal_weights, open_loop_errors
from world_models.training.data import Dataset
from world_models.training.fit_states import WindowBatch, fit_batches, scaled_model
from world_models.training.loop import Progress
from world_models.training.machine.pools import Pool
from world_models.training.recorded.source import Source
from world_models.training.train import TrainSettings

STEPS = (1, 5, 10, 25, 50)
"""Open-loop lengths on the card of a model trained from data, in environment steps."""
JUDGED = 200
"""Most windows of validation episodes that the card reports on."""


@dataclass(frozen=True)
class RecordedData:
    """A recorded dataset, and how training uses it."""

    path: str
    kind: str | None = None
    """Its format; None: found by its content."""
    observation: tuple[str, ...] = ()
    """Columns that make up the task's observation; none: found by role and size."""
    action: str | None = None
    pixels: str | None = None
    """Column of the pictures that a pixel model learns from; None: the only one."""
    proprioception: str | None = None
    """Column of a pixel model's proprioception; None: it is taken from the observation."""
    validation: float = 0.1
    """Share of the episodes that nothing is learned from, on which the card reports."""
    seed: int = 0
    """Seed of the split."""


def train_recorded(
    name: str,
    task: Task,
    settings: TrainSettings,
    out: Path,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
    data_folder: Path | None = None,
    pool: Pool | None = None,
    *,
    recorded: RecordedData,
) -> Path:
    """Train the world model `name` of `task` from a dataset into the checkpoint folder `out` and return it.

    Observations and actions come from the dataset alone; the task tells their sizes, units and success test. An interrupted
    run resumes where it last saved. Nothing is collected, so `data_folder` and `pool`, which every recipe of training takes,
    are not used. Raises UserError for a dataset that does not fit, and for an ensemble.
    """
    require(settings.ensemble == 1, f"an ensemble of {settings.ensemble} is not trained from data: set train.ensemble=1.")
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    data, columns, training, validation = opened(task, recorded)
    source, digest = Source.of(data, columns, training, task.action_block), data.digest()
    fit, config = (
        settings.fit,
        MLPConfig(
            task.observation_dim, task.action_dim, task.action_block, settings.width, settings.depth, settings.activation
        ),
    )
    scale = (torch.from_numpy(each).float() for each in (source.scale.mean, source.scale.std, source.scale.change))

    def make(step: int) -> WindowBatch:
        return source.draw(step, fit.batch_size, fit.unroll_at(step), fit.seed, fit.abrupt_share)

    resume, about = out / "resume.pt", repr((digest, columns.names, recorded.validation, recorded.seed))
    model = scaled_model(config, fit.seed, *scale)
    model = fit_batches(model, make, fit, torch.device(device), resume, progress, about=about, prefetch=True)
    weights = goal_weights(task, model)
    judged = held_out_windows(Source.of(data, columns, validation, task.action_block))
    entry = described(data, digest, columns.names, recorded, len(training), len(validation))
    card = card_of(task, model, StateGoalCost(weights).to(model.device), model.decode, judged) | {
        "training": asdict(settings),
        "data": entry,
        "seconds": {"all": round(time.monotonic() - started, 1)},
    }
    path = checkpoints.save(out, name, model, weights, card)
    resume.unlink(missing_ok=True)
    return path


def opened(
    task: Task, recorded: RecordedData
) -> tuple[Episodes, Columns, Int[np.ndarray, " training"], Int[np.ndarray, " validation"]]:
    """The dataset, the columns of the task, and the episodes to learn from and to report on.

    Raises UserError for a dataset that does not fit.
    """
    data = open_dataset(recorded.path, recorded.kind)
    columns = columns_for(task, data, recorded.observation, recorded.action)
    return data, columns, *split_episodes(len(data.lengths), recorded.validation, recorded.seed)


def card_of(
    task: Task, model: WorldModel, cost: GoalCost, decode: Decode, judged: Dataset, warm_up: int = 0
) -> dict[str, object]:
    """The entries of a state model's card that say what it learned and how well, on windows that begin with a warm-up."""
    return {
        "dynamics": dict(task.dynamics),
        "open_loop_error": open_loop_errors(model, decode, task, judged, STEPS, warm_up),
        "goal_cost_rank_correlation": goal_cost_rank_correlation(model, cost, task, judged),
    }


def held_out_windows(source: Source, warm_up: int = 0) -> Dataset:
    """Windows of validation episodes, as long as the longest of `STEPS` or as most of the episodes allow.

    `warm_up` model steps come before those. Raises UserError where most episodes are shorter.
    """
    longest = int(np.median(source.data.lengths[source.episodes])) - 1
    shown = warm_up * source.block
    require(
        longest >= shown + source.block or not warm_up,
        f"most validation episodes of {source.data.path} have {longest} steps or fewer, and train.warm_up {warm_up} needs more "
        f"than {shown}: give a shorter one.",
    )
    steps = max(1, min(longest, max(STEPS) + shown) // source.block)
    windows = source.windows(steps, seed=0)
    observations, actions = source.read(*windows.at(np.arange(min(JUDGED, windows.count))), steps)
    return Dataset(observations, actions)


def described(
    data: Episodes, digest: str, columns: Sequence[str], recorded: RecordedData, training: int, validation: int
) -> Mapping[str, object]:
    """The card's entry on the data, from which it can be told which episodes the model was trained on."""
    return {
        "digest": digest,
        "kind": data.kind,
        "name": Path(data.path).name,
        "columns": list(columns),
        "episodes": len(data.lengths),
        "training_episodes": training,
        "validation_episodes": validation,
        "validation": recorded.validation,
        "split_seed": recorded.seed,
        "steps": int(np.maximum(data.lengths - 1, 0).sum()),
    }
