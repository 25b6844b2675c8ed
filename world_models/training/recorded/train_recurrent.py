"""Training of a recurrent state model from recorded episodes whose observations do not tell the whole state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from world_models.errors import require
from world_models.models.gru import RecurrentConfig, RecurrentModel, recurrent_loss
from world_models.seeding import step_seed
from world_models.tasks import Task
from world_models.training.fit_states import FitSettings
from world_models.training.loop import LoopSettings, Progress, Stage, run_stage
from world_models.training.machine.pools import Pool
from world_models.training.recorded.source import Source
from world_models.training.recorded.train import RESUME, RecordedData, RecordedRun
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
    run = RecordedRun.open(task, recorded)
    scale = run.source.scale
    sizes = (settings.width, settings.hidden, settings.warm_up, settings.activation)
    config = RecurrentConfig(task.observation_dim, task.action_dim, task.action_block, *sizes)
    torch.manual_seed(settings.fit.seed)
    model = RecurrentModel(config)
    model.set_normalisation(*(torch.from_numpy(each) for each in (scale.mean, scale.std, scale.change)))
    model = model.to(device)
    stage = _stage(model, run.source, settings, run.about)
    judged = run.held_out(settings.warm_up)
    run_stage(stage, out / RESUME, progress)
    model.requires_grad_(False)
    return run.save(out, name, model, judged, asdict(settings), settings.warm_up)


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
