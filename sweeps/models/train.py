"""`grasp models` and `grasp train`: the zoo's cards as a table, and the training of its models."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

from orchestrator.core.messages import mask_token
from sweeps.config.compose import compose
from sweeps.config.files import groups
from sweeps.config.outputs import Outputs
from sweeps.config.plugin_names import name_or_target
from sweeps.config.schema.configs import TrainConfig
from sweeps.config.schema.sections import RecordedConfig
from sweeps.console.terminal import say, show
from sweeps.models.machine import Machine, machine_of
from world_models.checkpoints.store import read_card, zoo_names
from world_models.errors import UnknownNameError, require
from world_models.files.names import inside
from world_models.native.mlp import kernel_words
from world_models.plugins import Kind
from world_models.tasks import Task, make_task
from world_models.training.loop import Progress
from world_models.training.pixel_settings import PixelTrainSettings
from world_models.training.recorded.train import RecordedData, train_recorded
from world_models.training.recorded.train_pixels import train_recorded_pixels
from world_models.training.recorded.train_recurrent import RecurrentTrainSettings, train_recurrent
from world_models.training.train import TrainJob as Job
from world_models.training.train import TrainSettings, train, train_apart
from world_models.training.train_pixels import train_pixels

STEPS = ("1", "10", "20", "50", "100")
"""Columns of the open-loop error: environment steps."""
UNCLEAR = "?"
"""Mark of an error that the card does not tell."""
_log = logging.getLogger(__name__)


def models(console: Console, paths: Sequence[str] = ()) -> int:
    """Print the zoo's models, or those at `paths`, with the errors on their cards."""
    names = list(paths) or zoo_names()
    require(bool(names), "the zoo is empty: build its models with `grasp train all`.")
    title = "open-loop error after n environment steps, and its share of the error of predicting no motion"
    table = Table(title=title, title_justify="left", pad_edge=False, box=SIMPLE_HEAD)
    for column in ("model", "task", "error"):
        table.add_column(column, no_wrap=True)
    for step in STEPS:
        table.add_column(step, justify="right")
    table.add_column("goal rank corr.", justify="right")
    table.add_column("trained in", justify="right")
    unclear = []
    for name in names:
        card, _ = read_card(name)
        errors: Mapping[str, Any] = _mapping(card.get("open_loop_error"))
        for i, (part, by_step) in enumerate(errors.items() or [("-", {})]):
            row = [_error(by_step.get(step)) if isinstance(by_step, Mapping) else UNCLEAR for step in STEPS]
            unclear += [name] if UNCLEAR in row else []
            facts = [_rank(card), _seconds(card)] if i == 0 else ["", ""]
            head = [name, str(_mapping(card.get("dynamics")).get("name", "-"))] if i == 0 else ["", ""]
            table.add_row(*head, part, *row, *facts, end_section=i + 1 == len(errors))
    show(console, table)
    for name in dict.fromkeys(unclear):
        say(console, f"{UNCLEAR}: the card of {name} has errors that are not pairs of numbers; train it or copy it again.")
    say(console, kernel_words())
    return 0


def train_models(which: str, overrides: Sequence[str], console: Console, conf: Path | None = None) -> int:
    """Train one model of `conf/world_model`, or `all` that belong to the zoo; UserError names an unknown one."""
    known = groups(conf)["world_model"]
    if which != "all" and which not in known:
        raise UnknownNameError("world model", which, ("all", *known))
    for word in overrides:
        sentence = f"{mask_token(word)!r} names a model beside {which}: give grasp train MODEL alone."
        require(word.partition("=")[0].lstrip("+~") != "world_model", sentence)
    configs = [_read(name, overrides, conf) for name in (known if which == "all" else (which,))]
    jobs = [_job(config, conf) for config in configs if which != "all" or config.world_model.zoo]
    for job in jobs:
        Outputs(job.folder.parent).prepare()
    for job in jobs:
        _train(job, console)
        say(console, f"{job.name} is in {job.folder}; use it with world_model={job.folder}")
    return models(console, [str(job.folder) for job in jobs])


Settings = TrainSettings | PixelTrainSettings | RecurrentTrainSettings
"""Settings of a recipe of training."""


@dataclass(frozen=True)
class TrainJob:
    """A model to train, the folder for its checkpoint, and the folder that keeps its data."""

    name: str
    task: Task
    settings: Settings
    folder: Path
    data: Path
    config: TrainConfig
    """Where it is trained, and with what."""


def _read(name: str, overrides: Sequence[str], conf: Path | None) -> TrainConfig:
    return compose(TrainConfig, [f"world_model={name}", *overrides], conf).config


def _job(config: TrainConfig, conf: Path | None) -> TrainJob:
    outputs, model = Outputs.of(config), config.world_model
    task = name_or_target(Kind.TASK, "world_model.task", model.task.name, model.task.target, conf)
    require(task is not None, "the world model has no task: give task.name=NAME, or task.target=package.module:Name.")
    return TrainJob(
        model.name,
        make_task(str(task), **model.task.settings),
        _settings(model.kind, model.train),
        inside(config.out or outputs.models, model.name),
        outputs.data,
        config,
    )


def _settings(kind: str, values: Mapping[str, object]) -> Settings:
    """Training settings of the recipe that `kind` names: `mlp` or `recurrent` for a model of states, `jepa` for pictures."""
    if kind == "mlp":
        return TrainSettings.of(values)
    if kind == "jepa":
        return PixelTrainSettings.of(values)
    if kind == "recurrent":
        return RecurrentTrainSettings.of(values)
    raise UnknownNameError("kind of world model", kind, ("jepa", "mlp", "recurrent"))


def _train(job: TrainJob, console: Console) -> None:
    """Train with a progress bar on a terminal, and with a line for every tenth of a stage elsewhere."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
    )
    with ProgressBar(*columns, console=console, disable=not console.is_terminal) as bar:
        handle = bar.add_task(job.name, total=None)
        reported: set[tuple[str, int]] = set()

        def progress(stage: str, done: int, total: int, loss: float) -> None:
            """Move the bar, or print a line at a tenth of the stage."""
            shown = "" if math.isnan(loss) else f" loss {loss:.4g}"
            bar.update(handle, description=f"{job.name}: {stage}{shown}", completed=done, total=total)
            tenth = (stage, 10 * done // max(total, 1))
            if not console.is_terminal and tenth not in reported:
                reported.add(tenth)
                say(console, f"{job.name}: {stage} {done}/{total}{shown}")

        with machine_of(job.config, job.settings.ensemble) as machine:
            _log.info("training %s %s", job.name, machine.words)
            _train_on(machine, job, progress)


def _train_on(machine: Machine, job: TrainJob, progress: Progress) -> None:
    """Train a model here, or let a cluster do it: an ensemble of state models by its members, any other model as a whole."""
    recipe = _recipe(job)
    if machine.is_remote and (recipe is not train or job.settings.ensemble == 1):
        whole = Job(recipe, job.name, job.task, job.settings, job.folder, machine.allocation, job.data)
        train_apart([whole], machine.pool, lambda _, *said: progress(*said))
        return
    device = str(machine.allocation.place)
    # This process may lack the cluster's GPUs; its own part of an ensemble is small.
    with (replace(machine.allocation, device="cpu") if machine.is_remote else machine.allocation).used():
        recipe(job.name, job.task, job.settings, job.folder, progress, device, job.data, machine.pool)


def _recipe(job: TrainJob) -> Callable[..., Path]:
    """The training of a model: of states or pictures, and from a simulator or a dataset."""
    path, chosen = job.config.data, job.config.recorded
    require(path is not None or chosen == RecordedConfig(), "recorded.* is about a dataset, and none is given: add data=PATH.")
    if path is None:
        require(
            not isinstance(job.settings, RecurrentTrainSettings),
            f"{job.name} is a recurrent model, which is trained from a dataset: add data=PATH.",
        )
        return train if isinstance(job.settings, TrainSettings) else train_pixels
    recorded = RecordedData(path, **{field.name: getattr(chosen, field.name) for field in fields(chosen)})
    by_states = not isinstance(job.settings, PixelTrainSettings)
    require(
        not by_states or (chosen.pixels is None and chosen.proprioception is None),
        f"{job.name} is a model of states: leave recorded.pixels and recorded.proprioception out.",
    )
    if isinstance(job.settings, RecurrentTrainSettings):
        return partial(train_recurrent, recorded=recorded)
    return partial(train_recorded if by_states else train_recorded_pixels, recorded=recorded)


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _error(entry: object) -> str:
    if entry is None:
        return "-"
    values = _mapping(entry)
    model, still = values.get("model"), values.get("persistence")
    if not isinstance(model, int | float) or not isinstance(still, int | float):
        return UNCLEAR
    if not still:
        return f"{model:.3g}"
    share = model / still
    return f"{model:.3g} ({100 * share:.0f} %)" if share < 10 else f"{model:.3g} ({share:.0f} x)"


def _rank(card: Mapping[str, object]) -> str:
    """Rank correlation of the model's own goal cost, over all distances, as text."""
    value = card.get("goal_cost_rank_correlation")
    if isinstance(value, Mapping):
        value = _mapping(value.get(str(card.get("goal_cost")))).get("all")
    return f"{value:.3f}" if isinstance(value, float) else "-"


def _seconds(card: Mapping[str, object]) -> str:
    seconds = _mapping(card.get("seconds")).get("all")
    return f"{seconds:.0f} s" if isinstance(seconds, int | float) else "-"
