"""`grasp models inspect` and `grasp models import`: what a checkpoint file is, and making it one of ours."""

from __future__ import annotations

import hashlib
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from sweeps.config.outputs import outputs_of
from sweeps.config.plugin_names import admit_for_all
from sweeps.console.terminal import say, show
from sweeps.models.train import models
from world_models.adapters.base import NOTHING, Found, Given, Imported
from world_models.adapters.fit_readout import HELD_OUT, STATES, Readout, fit_readout
from world_models.adapters.kinds import convert, recognise
from world_models.adapters.origins import is_same_environment, task_environment
from world_models.checkpoints import store as checkpoints
from world_models.checkpoints.formats import FORMATS, assemble
from world_models.checkpoints.histories import history_of, states_seen
from world_models.errors import UserError, require
from world_models.files.names import file_name, inside
from world_models.history import GROW
from world_models.sensors import Sensors
from world_models.tasks import COMPLETE, Task, make_task
from world_models.tasks.base import Visible

SUBCOMMANDS = (["inspect"], ["import"])
"""First words that are subcommands, not models to list."""
ACTION_MEAN, ACTION_STD = "action_mean", "action_std"
"""Names of the tensors with which adapters convert our actions to a model's units."""


@dataclass(frozen=True)
class ImportOptions:
    """Options of `grasp models import`."""

    name: str | None = None
    task: str | None = None
    encoder: Path | None = None
    action_mean: tuple[float, ...] | None = None
    action_std: tuple[float, ...] | None = None
    readout: bool = False
    given: Given = NOTHING
    """Statements about the file, for `inspect` as well."""


def run(arguments: Namespace, console: Console | None = None) -> int:
    """Run `grasp models ...`: list, inspect or import; the exit code."""
    console = console or Console()
    command, rest = (
        (arguments.words[0], arguments.words[1:]) if arguments.words[:1] in SUBCOMMANDS else ("list", arguments.words)
    )
    admit_for_all(arguments.plugin)
    given = Given(arguments.weights, arguments.trained_on)
    options = ImportOptions(
        arguments.name, arguments.task, arguments.encoder, arguments.action_mean, arguments.action_std, arguments.readout, given
    )
    require(
        command == "import" or options in (ImportOptions(), ImportOptions(given=given if command == "inspect" else NOTHING)),
        f"options are for grasp models import, not for {command}: leave them out.",
    )
    if command == "list":
        return models(console, rest)
    paths = [word for word in rest if "=" not in word or Path(word).exists()]
    require(
        len(paths) == 1, f"grasp models {command} takes one checkpoint, not {len(paths)}: give the path of a file or folder."
    )
    words = [word for word in rest if word not in paths]
    if command == "import":
        return import_model(console, Path(paths[0]), options, words)
    require(not words, f"grasp models inspect takes no settings such as {words[0] if words else ''!r}: give only a path.")
    return inspect(console, Path(paths[0]), given)


def inspect(console: Console, path: Path, given: Given = NOTHING) -> int:
    """Print what a checkpoint is, its sizes, what it needs, and which tasks it fits; UserError if it is not a checkpoint."""
    if (path / "card.json").is_file():
        return _inspect_own(console, path)
    found = recognise(path, given)
    table = Table(title=f"{found.path}: {found.kind}", title_justify="left", pad_edge=False, box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in {**found.sizes, **_interface(found)}.items():
        table.add_row(name, str(value))
    table.add_row("needs", ", ".join(found.needs) or "nothing else")
    show(console, table)
    fits = Table(title="fits", title_justify="left", pad_edge=False, box=SIMPLE_HEAD)
    for column in ("task", "sizes fit", "with"):
        fits.add_column(column)
    for name in COMPLETE:
        problem, block = misfit(found, make_task(name))
        fits.add_row(name, "yes" if problem is None else "no", f"action_block={block}" if problem is None else problem)
    show(console, fits)
    for note in filter(None, (_asked(found), *found.notes)):
        say(console, f"note: {note}")
    return 0


def import_model(console: Console, path: Path, options: ImportOptions, words: Sequence[str]) -> int:
    """Convert a checkpoint to OUTPUT/models/NAME for a task; UserError where it does not fit or something is missing."""
    name = _name(options.name)
    output = [word for word in words if word.startswith("output=")]
    settings = _settings([word for word in words if not word.startswith("output=")])
    outputs = outputs_of(output)
    folder = inside(outputs.models, name)
    require(not folder.exists(), f"{folder} exists: choose another --name, or delete it first.")
    require(not (path / "card.json").is_file(), f"{path} is already in this package's format: use it with world_model={path}.")
    found = recognise(path, options.given)
    task = _task(found, options.task, settings)
    imported = convert(found, task, options.encoder)
    tensors = _with_action_units(imported, task, options)
    card = _card(found, imported, task)
    parts = assemble({"format": imported.format, "model": imported.config, **card}, dict(tensors))
    card["goal_costs"] = list(parts.goal_costs)
    if options.readout:
        say(console, f"fitting a readout: encoding the {parts.sensors.kind} of {STATES + HELD_OUT} simulator states ...")
    readout = fit_readout(parts.model, parts.sensors, task) if options.readout else None
    if readout is not None:
        tensors, card["readout"] = {**tensors, **readout.tensors}, readout.as_card()
    outputs.prepare()
    checkpoints.write(folder, imported.format, name, imported.config, tensors, card)
    loaded = checkpoints.load(str(folder))
    say(console, f"{found.kind} checkpoint {found.path} is now {folder} (digest {loaded.digest})")
    for note in filter(None, imported.notes):
        say(console, f"note: {note}")
    if readout is not None:
        say(console, _readout_line(readout))
    settings_words = " ".join(
        f"tasks.{task.name}.settings.{key}={value}" for key, value in task.dynamics.items() if key != "name"
    )
    say(console, f"plan with it: grasp plan task={task.name} {settings_words} world_model={folder}")
    return 0


def misfit(found: Found, task: Task) -> tuple[str | None, int]:
    """Reason why a checkpoint does not fit a task (None if it fits), and the action_block that its sizes imply."""
    environment = task_environment(task)
    trained = str(found.sizes.get("environment", environment))
    block = found.action_block or max(found.action_size // task.action_dim, 1)
    if found.action_size != task.action_dim * block:
        return f"actions of {task.action_dim} numbers do not make up {found.action_size}", block
    if not is_same_environment(trained, environment):
        return f"it was trained on {trained}", block
    if found.pads_observations and found.observation_dim is not None and found.observation_dim < task.observation_dim:
        return f"observations of {task.observation_dim} features, at most {found.observation_dim}", block
    if found.observation_dim is not None and found.observation_dim != task.observation_dim and not found.pads_observations:
        return f"observations of {task.observation_dim} features, not {found.observation_dim}", block
    if found.observation_dim is None and not isinstance(task, Visible):
        return "the task has no pictures", block
    if found.proprioception_dim and isinstance(task, Visible) and found.proprioception_dim != task.proprioception_dim:
        return f"proprioception of {task.proprioception_dim} features, not {found.proprioception_dim}", block
    return None, block


def _asked(found: Found) -> str:
    if not found.asks_environment or "environment" in found.sizes:
        return ""
    return "Nothing tells the environment that it was trained on, and sizes do not: an import needs --trained-on."


def _inspect_own(console: Console, path: Path) -> int:
    card, digest = checkpoints.read_card(str(path))
    sensors, dynamics, config = Sensors.of(card), card.get("dynamics"), card.get("model")
    table = Table(title=f"{path}: {card.get('format')}", title_justify="left", pad_edge=False, box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_row("digest", digest)
    table.add_row("observes", "states" if sensors.kind == "state" else f"pictures of {sensors.size} px")
    table.add_row("goal cost", checkpoints.own_goal_cost(card))
    if states_seen(card) > 1:
        table.add_row("history", f"{states_seen(card)} states, {history_of(card)}")
    for title, values in (("task", dynamics), ("sizes", config)):
        if isinstance(values, Mapping):
            table.add_row(title, ", ".join(f"{key} {value}" for key, value in values.items()))
    show(console, table)
    return 0


def _interface(found: Found) -> dict[str, str]:
    block = f" ({found.action_block} environment steps)" if found.action_block else ""
    own = {"action": f"{found.action_size} numbers per model step{block}"}
    return {**own, "proprioception": f"{found.proprioception_dim} features"} if found.proprioception_dim else own


def _name(name: str | None) -> str:
    require(name is not None, "an imported model needs a name: give --name.")
    assert name is not None
    return file_name("model name", name)


def _settings(words: Sequence[str]) -> dict[str, object]:
    """Task settings from `key=value` words; values are whole numbers, numbers or text."""
    settings: dict[str, object] = {}
    for word in words:
        key, separator, text = word.partition("=")
        require(
            bool(separator) and key.isidentifier(), f"{word!r} is not a task setting: write key=value, such as action_block=5."
        )
        settings[key] = _value(text)
    return settings


def _value(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _task(found: Found, name: str | None, settings: Mapping[str, object]) -> Task:
    """The task of that name; its `action_block` is the one that the checkpoint's sizes imply unless `settings` has another."""
    if name is None:
        fitting = [task for task in COMPLETE if misfit(found, make_task(task))[0] is None]
        raise UserError(f"{found.path} needs a task: give --task ({' or '.join(fitting) or 'none of ours fits its sizes'}).")
    _, block = misfit(found, make_task(name, **{**settings, "action_block": 1}))
    return make_task(name, **{"action_block": block, **settings})


def _with_action_units(imported: Imported, task: Task, options: ImportOptions) -> dict[str, Tensor]:
    """The tensors, with the adapter's mean and standard deviation of actions replaced by those given in the options."""
    tensors = dict(imported.tensors)
    for key, values in ((ACTION_MEAN, options.action_mean), (ACTION_STD, options.action_std)):
        if values is None:
            continue
        option = f"--{key.replace('_', '-')}"
        require(
            key in tensors,
            f"{option} does not apply to this kind of checkpoint, whose units of actions are known: leave it out.",
        )
        require(
            len(values) == task.action_dim,
            f"{option} has {len(values)} numbers: give {task.action_dim}, one for each number of an action.",
        )
        require(key == ACTION_MEAN or min(values) > 0, f"{option} {values} is not positive: give numbers above 0.")
        tensors[key] = torch.tensor(values)
    return tensors


def content_digest(found: Found) -> str:
    """SHA-256 of a checkpoint's file, in hexadecimal."""
    with found.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _card(found: Found, imported: Imported, task: Task) -> dict[str, object]:
    grows = {"history": GROW} if FORMATS[imported.format].shorter_windows else {}
    return {
        **grows,
        "dynamics": dict(task.dynamics),
        "sensors": dict(imported.sensors),
        "goal_cost": imported.goal_cost,
        "imported": {
            "kind": found.kind,
            "file": found.path.name,
            "sha256": content_digest(found),
            "sizes": dict(found.sizes),
            "notes": [note for note in imported.notes if note],
        },
    }


def _readout_line(readout: Readout) -> str:
    errors = ", ".join(f"{name} {value:.3g}" for name, value in readout.errors.items())
    return f"readout of the state from the latent, error on held-out states: {errors}"
