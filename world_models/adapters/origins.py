"""Where a checkpoint comes from: the settings beside its weights and in them, the classes that they name, the environment.

Settings are read as plain values. A Hydra `_target_` is a text here: nothing is imported or instantiated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from world_models.adapters.files import sibling_config
from world_models.adapters.pickles.records import ModuleRecord
from world_models.errors import UserError, require
from world_models.files.yaml_reading import load_yaml
from world_models.tasks.base import Task
from world_models.tasks.gym.task import GymTask

Settings = Mapping[str, object]

YAML_FILES = ("config.yaml", ".hydra/config.yaml", "hydra.yaml")
"""Settings files that training runs write, relative to the folder of the weights, or to the one above `checkpoints`."""

HYPER_PARAMETERS = "hyper_parameters"
"""Entry of a Lightning checkpoint with its settings."""

MAX_DEPTH = 12
"""Nesting depth to which settings are read."""

HEAD_DIM = 64
"""Features per head of a predictor in every published configuration."""

PATH_PARTS = 3
"""Parts of a path, from its end, that may tell the environment: the file and two folders."""

ENVIRONMENTS: Mapping[str, tuple[str, ...]] = {
    "pusht": ("pusht",),
    "two_room": ("tworoom", "tworooms"),
    "point_maze": ("pointmaze", "umaze"),
    "reacher": ("reacher",),
    "metaworld": ("metaworld",),
    "wall": ("wall",),
    "cube": ("cube",),
    "scene": ("scene",),
    "droid": ("droid",),
}
"""Spellings of environments in names of data sets, models and folders; lower-case, without separators."""

WHOLE_WORDS = frozenset({"wall", "cube", "scene", "droid", "umaze"})
"""Spellings that count only as words of their own, because they are parts of other words."""

ENVIRONMENT_KEYS = (
    "dataset_name",
    "data_name",
    "env_name",
    "environment",
    "env",
    "dataset",
    "data",
    "task",
    "output_model_name",
)
"""Settings whose texts tell the environment, and those whose `name` does."""


def settings_around(path: Path, content: Mapping[str, object]) -> tuple[Settings, ...]:
    """The settings of a checkpoint: in `config.json` beside it, in its hyper-parameters, and in the YAML of its run.

    Raises UserError for a file of that name that does not hold settings.
    """
    found = [sibling_config(path), plain_value(content.get(HYPER_PARAMETERS))]
    above = [path.parent.parent] if path.parent.name == "checkpoints" else []
    for folder in (path.parent, *above):
        found += [_read_yaml(folder / name) for name in YAML_FILES if (folder / name).is_file()]
    return tuple(each for each in found if isinstance(each, Mapping) and each)


def entry_of(settings: Sequence[Settings], name: str) -> Settings:
    """The first entry of a name that is itself a mapping, of the model's own settings or inside their `model`; or empty."""
    for each in settings:
        for level in (each, each.get("model")):
            entry = level.get(name) if isinstance(level, Mapping) else None
            if isinstance(entry, Mapping):
                return entry
    return {}


def predictor_heads(path: Path, inner: int, pickled: object, settings: Sequence[Settings]) -> tuple[tuple[int, int], bool]:
    """Number of a predictor's heads and features per head, for `inner` features, and whether anything tells them.

    From its settings, else the number that a `pickled` attention has, else `HEAD_DIM`. Raises UserError for numbers
    that do not fit each other.
    """
    entry = entry_of(settings, "predictor")
    heads, head_dim = entry.get("heads"), entry.get("dim_head", HEAD_DIM)
    if isinstance(heads, int) and isinstance(head_dim, int):
        require(heads * head_dim == inner, f"{path} has {inner} attention features, its config.json {heads} x {head_dim}.")
        return (heads, head_dim), True
    heads = pickled if isinstance(pickled, int) and pickled > 0 else inner // HEAD_DIM
    require(
        heads > 0 and inner % heads == 0 and (heads == pickled or inner % HEAD_DIM == 0),
        f"{path}: the number of heads for {inner} features is unknown: add config.json.",
    )
    return (heads, inner // heads), heads == pickled


def targets_in(settings: Sequence[Settings]) -> tuple[str, ...]:
    """All classes and functions that settings name under `_target_`, as texts."""
    return tuple(value for each in settings for key, value in _texts(each) if key[-1] == "_target_")


def environment_of(path: Path, settings: Sequence[Settings]) -> str | None:
    """The environment that a model was trained on, by its settings, else by its path; None where neither tells one."""
    for each in settings:
        told = {name for key, text in _texts(each) if _tells(key) for name in _named_in(text)}
        if len(told) == 1:
            return told.pop()
    for part in reversed(path.absolute().parts[-PATH_PARTS:]):
        told = set(_named_in(part))
        if len(told) == 1:
            return told.pop()
    return None


def is_same_environment(trained: str, task: str) -> bool:
    """Whether a task of ours is of the environment that a model was trained on, by their names."""
    return _canonical(trained) == _canonical(task)


def task_environment(task: Task) -> str:
    """The name of a task's environment: the task's own, or the id of an environment of Gymnasium."""
    return task.id if isinstance(task, GymTask) else task.name


def known_name(environment: str) -> str:
    """The name of an environment here, for any spelling of it; an unknown one's own."""
    own = _canonical(environment)
    return own if own in ENVIRONMENTS else environment


def check_environment(path: Path, trained: str | None, task: str) -> None:
    """Raise UserError unless a model is known to be of a task's environment, saying what to pass where nothing tells it."""
    if trained is None:
        raise UserError(
            f"{path} does not say which environment it was trained on, and sizes do not tell: give --trained-on, such as "
            f"--trained-on {task} if it was that."
        )
    require(
        is_same_environment(trained, task),
        f"{path} was trained on {trained}, not on {task}: choose the task that it was trained on.",
    )


def plain_value(value: object, depth: int = 0) -> object:
    """A value of a pickle in which the records of OmegaConf's and Lightning's containers are mappings, lists and values.

    Other objects, and what is nested deeper than `MAX_DEPTH`, become None.
    """
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, ModuleRecord):
        if value.type_name.startswith("omegaconf."):
            return plain_value(value.state.get("_content", value.state.get("_val")), depth + 1)
        value = value.items or value.state
    if isinstance(value, Mapping):
        return {str(key): plain_value(inside, depth + 1) for key, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(inside, depth + 1) for inside in value]
    return value if isinstance(value, (str, int, float, bool)) else None


def _read_yaml(file: Path) -> object:
    found = load_yaml(file, "settings file")
    require(found is None or isinstance(found, Mapping), f"{file} does not hold settings by name: move it away.")
    return found


def _texts(value: object, key: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """All texts inside settings with the names that lead to them."""
    if isinstance(value, str):
        yield key or ("",), value
    elif isinstance(value, Mapping) and len(key) <= MAX_DEPTH:
        for name, inside in value.items():
            yield from _texts(inside, (*key, str(name)))
    elif isinstance(value, (list, tuple)) and len(key) <= MAX_DEPTH:
        for inside in value:
            yield from _texts(inside, (*key, ""))


def _tells(key: tuple[str, ...]) -> bool:
    name = key[-1].lower()
    return name in ENVIRONMENT_KEYS or (name == "name" and len(key) > 1 and key[-2].lower() in ENVIRONMENT_KEYS)


def _named_in(text: str) -> Iterator[str]:
    """The environments that a text names."""
    words, joined = set(re.split(r"[^a-z]+", text.lower())), _joined(text)
    for name, spellings in ENVIRONMENTS.items():
        if any(spelling in words or (spelling not in WHOLE_WORDS and spelling in joined) for spelling in spellings):
            yield name


def _canonical(name: str) -> str:
    # What our tasks add to the names of theirs, and what ids of Gymnasium have around theirs: `dm_control/reacher-easy-v0`.
    own = _joined(re.sub(r"_(upstream|dino)$|-v\d+$", "", name.rpartition("/")[2]))
    return next((known for known, spellings in ENVIRONMENTS.items() if own in spellings), own)


def _joined(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", text.lower())
