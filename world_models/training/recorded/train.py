"""Training of a state model from recorded episodes. No simulator runs; a killed run resumes when started again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from world_models.base import adapted_goal_cost
from world_models.checkpoints import store as checkpoints
from world_models.datasets import Episodes, open_dataset, split_episodes
from world_models.datasets.problems.columns import columns_for
from world_models.errors import require
from world_models.models.gru import RecurrentModel
from world_models.models.mlp import MLPConfig, ResidualMLP, StateGoalCost
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
RESUME = "resume.pt"
"""The file in the checkpoint's folder from which an interrupted run resumes."""
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
    run = RecordedRun.open(task, recorded)
    source, judged = run.source, run.held_out()
    fit, config = (
        settings.fit,
        MLPConfig(
            task.observation_dim, task.action_dim, task.action_block, settings.width, settings.depth, settings.activation
        ),
    )
    scale = (torch.from_numpy(each).float() for each in (source.scale.mean, source.scale.std, source.scale.change))

    def make(step: int) -> WindowBatch:
        return source.draw(step, fit.batch_size, fit.unroll_at(step), fit.seed, fit.abrupt_share)

    model = scaled_model(config, fit.seed, *scale)
    resume = out / RESUME
    model = fit_batches(model, make, fit, torch.device(device), resume, progress, about=run.about, prefetch=True)
    return run.save(out, name, model, judged, asdict(settings))


@dataclass(frozen=True)
class RecordedRun:
    """The beginning and the end of every training of a state model from a dataset."""

    task: Task
    source: Source
    """The episodes to learn from."""
    validation: Int[np.ndarray, " episodes"]
    """Those to report on."""
    about: str
    """A text that differs for another dataset, other columns and another split: what an interrupted run must agree with."""
    entry: Mapping[str, object]
    """The card's entry on the data."""
    started: float
    """Reading of `time.monotonic`."""

    @staticmethod
    def open(task: Task, recorded: RecordedData) -> RecordedRun:
        """The run of a task on a dataset. Raises UserError for a dataset that does not fit."""
        started = time.monotonic()
        data = open_dataset(recorded.path, recorded.kind)
        columns = columns_for(task, data, recorded.observation, recorded.action)
        training, validation = split_episodes(len(data.lengths), recorded.validation, recorded.seed)
        source, digest = Source.of(data, columns, training, task.action_block), data.digest()
        about = repr((digest, columns.names, recorded.validation, recorded.seed))
        entry = described(data, digest, columns.names, recorded, len(training), len(validation))
        return RecordedRun(task, source, validation, about, entry, started)

    def held_out(self, warm_up: int = 0) -> Dataset:
        """Windows of validation episodes that begin with `warm_up` model steps. Raises what `held_out_windows` raises."""
        return held_out_windows(replace(self.source, episodes=self.validation), warm_up)

    def save(
        self,
        out: Path,
        name: str,
        model: ResidualMLP | RecurrentModel,
        judged: Dataset,
        settings: Mapping[str, object],
        warm_up: int = 0,
    ) -> Path:
        """Write the checkpoint, whose card says how well the model predicts the `judged` windows, and end the run."""
        weights = goal_weights(self.task, model)
        cost = adapted_goal_cost(model, StateGoalCost(weights).to(model.device))
        card = {
            "dynamics": dict(self.task.dynamics),
            "open_loop_error": open_loop_errors(model, model.decode, self.task, judged, STEPS, warm_up),
            "goal_cost_rank_correlation": goal_cost_rank_correlation(model, cost, self.task, judged),
            "training": settings,
            "data": self.entry,
            "seconds": {"all": round(time.monotonic() - self.started, 1)},
        }
        path = checkpoints.save(out, name, model, weights, card)
        (out / RESUME).unlink(missing_ok=True)
        return path


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
