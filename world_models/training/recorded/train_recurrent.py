"""Training of a recurrent state model from recorded episodes whose observations do not tell the whole state."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from world_models.checkpoints import store as checkpoints
from world_models.errors import require
from world_models.models.gru import RecurrentConfig, RecurrentModel, recurrent_loss
from world_models.models.mlp import StateGoalCost
from world_models.parts import GOAL_WEIGHTS, PREFIX
from world_models.seeding import step_seed
from world_models.tasks import Task
from world_models.training.assess import goal_weights
from world_models.training.fit_states import FitSettings
from world_models.training.loop import LoopSettings, Progress, Stage, run_stage
from world_models.training.machine.pools import Pool
from world_models.training.recorded.source import Source
from world_models.training.recorded.train import RecordedData, card_of, described, held_out_windows, opened
from world_models.training.settings_of import settings_of

Batch = tuple[Float[Tensor, "batch time_plus_one observation"], Float[Tensor, "batch time action"], int]
"""Observations at model steps, the action blocks between them, and how many of the steps are shown."""
SHARES = (0.0, 0.25, 1.0)
"""Shares of the warm-up that training shows, from batch to batch: a start may have no known past, or a short one."""


@dataclass(frozen=True)
class RecurrentTrainSettings:
    """Sizes and fit of one recurrent model. Raises UserError for invalid values."""

    width: int = 128
    hidden: int = 64
    """Size of the memory."""
    warm_up: int = 10
    """Model steps before a start that the model is shown, where they are known."""
    activation: str = "silu"
    fit: FitSettings = field(default_factory=lambda: FitSettings(unrolls=(1, 8, 16), steps=(1500, 1500, 1500), batch_size=256))

    @staticmethod
    def of(values: Mapping[str, object]) -> RecurrentTrainSettings:
        """Settings from a config mapping, in which `fit` is a mapping too. Raises UserError for unknown names."""
        return settings_of(RecurrentTrainSettings, values, "train")

    ensemble = 1


def train_recurrent(
    name: str,
    task: Task,
    settings: RecurrentTrainSettings,
    out: Path,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
    data_folder: Path | None = None,
    pool: Pool | None = None,
    *,
    recorded: RecordedData,
) -> Path:
    """Train the recurrent model `name` of `task` from a dataset into the checkpoint folder `out` and return it.

    An interrupted run resumes where it last saved. `data_folder` and `pool`, which every recipe of training takes, are not
    used. Raises UserError for a dataset that does not fit.
    """
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    data, columns, training, validation = opened(task, recorded)
    source, digest = Source.of(data, columns, training, task.action_block), data.digest()
    sizes = (settings.width, settings.hidden, settings.warm_up, settings.activation)
    config = RecurrentConfig(task.observation_dim, task.action_dim, task.action_block, *sizes)
    torch.manual_seed(settings.fit.seed)
    model = RecurrentModel(config)
    model.set_normalisation(*(torch.from_numpy(each) for each in (source.scale.mean, source.scale.std, source.scale.change)))
    about, resume = repr((digest, columns.names, recorded.validation, recorded.seed)), out / "resume.pt"
    model = model.to(device)
    run_stage(_stage(model, source, settings, about), resume, progress)
    model.requires_grad_(False)
    judged = held_out_windows(Source.of(data, columns, validation, task.action_block), settings.warm_up)
    weights = goal_weights(task, model)
    cost = model.adapt_goal_cost(StateGoalCost(weights).to(model.device))
    entry = described(data, digest, columns.names, recorded, len(training), len(validation))
    card = card_of(task, model, cost, model.decode, judged, settings.warm_up) | {
        "training": asdict(settings),
        "data": entry,
        "seconds": {"all": round(time.monotonic() - started, 1)},
    }
    tensors = {**model.state_dict(), GOAL_WEIGHTS: weights}
    path = checkpoints.write(out, f"{PREFIX}recurrent/1", name, asdict(config), tensors, card)
    resume.unlink(missing_ok=True)
    return path


def _stage(model: RecurrentModel, source: Source, settings: RecurrentTrainSettings, about: str) -> Stage:
    fit = settings.fit
    longest = int(source.data.lengths[source.episodes].max(initial=0)) - 1
    needed = (settings.warm_up + max(fit.unrolls)) * source.block
    require(
        longest >= needed,
        f"the longest episode of {source.data.path} has {longest} steps, and train.warm_up {settings.warm_up} with unrolls up "
        f"to {max(fit.unrolls)} needs {needed}: give a shorter warm-up or shorter unrolls.",
    )

    def make(step: int) -> Batch:
        shown = round(SHARES[step_seed(fit.seed, step) % len(SHARES)] * settings.warm_up)
        steps = shown + fit.unroll_at(step)
        return *source.draw(step, fit.batch_size, steps, fit.seed, fit.abrupt_share), shown

    def loss(batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        observations, actions, shown = batch
        return recurrent_loss(model, observations.to(model.device), actions.to(model.device), shown, fit.beta)

    total = sum(fit.steps)
    loop = LoopSettings(total, fit.batch_size, fit.lr, fit.weight_decay, fit.clip, fit.average, 1000, fit.seed)
    more = repr(asdict(settings)) + about
    return Stage("train", model, make, loss, loop, more, warm_up=0.05, schedule_steps=total, prefetch=True, report_every=100)
