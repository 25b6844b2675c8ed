"""`grasp data task`: the files of a task without a simulator, and of the world model that learns it, from a dataset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from rich.console import Console

from orchestrator.core.messages import mask_words
from sweeps.config.files import groups
from sweeps.console.terminal import say
from world_models.datasets import Episodes, Role, columns_with
from world_models.datasets.base import named_columns
from world_models.datasets.statistics import ColumnStatistics, statistics
from world_models.errors import UserError, require
from world_models.files.names import inside
from world_models.files.writing import write_file
from world_models.tasks import TASKS

TOLERANCE = 0.2
"""Largest error of a feature at the goal, in deviations of the feature in the data, where the user names no other."""
STILL = 1e-9
"""Deviation at or below which a feature does not change."""
MOST_CLASSES = 64
"""Most classes of an action that is a whole number."""
HORIZON = 25
"""Environment steps of the written task's horizon, where episodes are long enough."""


@dataclass(frozen=True)
class Facts:
    """The numbers of a dataset that make a task."""

    observation: tuple[str, ...]
    action: str
    names: tuple[str, ...]
    """Names of the observed features."""
    tolerance: tuple[float | None, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    classes: int | None
    horizon: int


def write_task(
    data: Episodes, name: object, conf: object, observation: Sequence[str] | None, action: str | None, console: Console
) -> int:
    """Write `CONF/task/NAME.yaml` and `CONF/world_model/NAME.yaml`, say how to go on, and return the exit code.

    Raises UserError for a name that is none, columns that do not fit, and files that are there already.
    """
    require(conf not in (None, ""), "grasp data task needs a folder for its two files: give conf=FOLDER, such as conf=my_conf.")
    label = _label(data, name)
    facts = facts_of(data, observation, action)
    source = f"{Path(data.path).name}, {len(data.lengths)} episodes, {int(data.lengths.sum())} rows"
    folder = Path(str(conf))
    files = {
        inside(folder, "task", f"{label}.yaml"): _task_text(label, facts, source),
        inside(folder, "world_model", f"{label}.yaml"): _model_text(label, facts),
    }
    for file in files:
        require(not file.exists(), f"{file} exists: delete it, or give another name=NAME.")
    for file, text in files.items():
        write_file(file, text)
        say(console, f"wrote {file}")
    say(console, "look at the tolerances in both first: they say when a goal counts as reached. Then")
    columns = f"observation=[{','.join(facts.observation)}]"
    for verb, section, more in (
        (["train", label], "recorded", [f"data={data.path}"]),
        (["sweep", f"task={label}", "planner=reference_actions,grasp,cem"], "problems", [f"problems.data={data.path}"]),
    ):
        named = [f"{section}.{columns}", f"{section}.action={facts.action}"]
        say(console, f"  {mask_words(['grasp', *verb, '--conf', str(folder), *more, *named])}")
    return 0


def _label(data: Episodes, name: object) -> str:
    """The name of task and world model. Raises UserError for one that configs would not take for a new name."""
    label = str(name if name is not None else Path(data.path).stem)
    known = groups(None)
    ours = {*TASKS, *known["task"], *known["world_model"]}
    sound = re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,99}", label) is not None and isinstance(yaml.safe_load(label), str)
    require(
        sound and label not in ours,
        f"{label[:100]!r} {'is a name of ours' if label in ours else 'cannot name a task'}: give another with name=NAME, of "
        "letters, digits and underscores.",
    )
    return label


def facts_of(data: Episodes, observation: Sequence[str] | None, action: str | None) -> Facts:
    """The numbers of a dataset with the named columns, else those whose role fits. Raises UserError where none does."""
    seen = tuple(observation or _observed(data))
    named_columns(data, [*seen, *([action] if action else [])])
    acted = action or _only_action(data)
    found = statistics(data, [*seen, acted])
    names = tuple(name for column in seen for name in _names(data, column))
    deviations = np.concatenate([found[column].std for column in seen])
    require(
        bool((deviations > STILL).any()),
        f"nothing that {data.path} observes ({', '.join(seen)}) ever changes, so that no goal could be told apart: name other "
        "columns with observation=[...].",
    )
    classes = _classes(data, acted, found[acted])
    low, high = (found[acted].minimum, found[acted].maximum) if classes is None else (np.empty(0), np.empty(0))
    still = [i for i, (a, b) in enumerate(zip(low, high, strict=True)) if not a < b]
    require(
        not still,
        f"value {still[:1]} of the actions in column {acted!r} of {data.path} never changes, so that it has no bounds: leave "
        "it out of the data, or name another column with action=NAME.",
    )
    longest = int(data.lengths.max(initial=0)) - 1
    return Facts(
        seen,
        acted,
        names,
        tuple(float(f"{TOLERANCE * each:.3g}") if each > STILL else None for each in deviations.tolist()),
        tuple(low.tolist()),
        tuple(high.tolist()),
        classes,
        max(1, min(HORIZON, longest)),
    )


def _observed(data: Episodes) -> list[str]:
    for role in (Role.OBSERVATION, Role.STATE):
        if names := columns_with(data, role):
            return names
    listed = ", ".join(data.columns) or "none"
    raise UserError(f"{data.path} has no columns of observations; its columns are {listed}: name some with observation=[...].")


def _only_action(data: Episodes) -> str:
    names = columns_with(data, Role.ACTION)
    if len(names) == 1:
        return names[0]
    listed = ", ".join(names or data.columns)
    raise UserError(f"{data.path} has {len(names)} columns of actions ({listed}): name one with action=NAME.")


def _names(data: Episodes, column: str) -> list[str]:
    known = data.columns[column]
    size = int(np.prod(known.shape, dtype=np.int64))
    if len(known.features) == size:
        return list(known.features)
    return [column] if size == 1 else [f"{column}_{i}" for i in range(size)]


def _classes(data: Episodes, column: str, found: ColumnStatistics) -> int | None:
    """The number of classes of actions that are whole numbers from 0 on."""
    known = data.columns[column]
    whole = np.dtype(known.dtype).kind in "iub" and int(np.prod(known.shape, dtype=np.int64)) == 1
    if not whole or not 0 <= found.minimum[0] < found.maximum[0] < MOST_CLASSES:
        return None
    return int(found.maximum[0]) + 1


def _task_text(label: str, facts: Facts, source: str) -> str:
    bounds = [f"  classes: {facts.classes}  # actions are 0, 1, ..."]
    if facts.classes is None:
        bounds = [
            f"  low: {_numbers(facts.low)}  # bounds of the recorded actions, which become -1 and 1",
            f"  high: {_numbers(facts.high)}",
        ]
    listed = ", ".join(_text(name) for name in facts.names)
    lines = [
        f"# @package tasks.{label}",
        f"# A task that is known from recordings only ({source}): plans are judged in the world model.",
        "name: recorded",
        "settings:",
        f"  features: [{listed}]",
        f"  # Largest error of each at the goal, here {TOLERANCE:g} deviations; null for what does not matter or change.",
        f"  tolerance: {_numbers(facts.tolerance)}",
        *bounds,
        "  action_block: 1  # recorded steps per model step",
        f"world_model: ${{output}}/models/{label}",
        f"horizons: [{facts.horizon}]",
    ]
    return "\n".join(lines) + "\n"


def _model_text(label: str, facts: Facts) -> str:
    bounds = [f"classes: {facts.classes}"]
    if facts.classes is None:
        bounds = [f"low: {_numbers(facts.low)}", f"high: {_numbers(facts.high)}"]
    lines = [
        f"# `grasp train {label} data=PATH`: its task, with the settings of task/{label}.yaml, and the recipe's settings.",
        f"name: {label}",
        "task:",
        "  name: recorded",
        "  settings:",
        f"    features: [{', '.join(_text(name) for name in facts.names)}]",
        f"    tolerance: {_numbers(facts.tolerance)}",
        *(f"    {bound}" for bound in bounds),
        "    action_block: 1",
        "train:",
        "  width: 128",
        "  activation: silu",
        "  fit: {unrolls: [1, 4, 16], steps: [2000, 2000, 1500], batch_size: 256, beta: 0.5}",
    ]
    return "\n".join(lines) + "\n"


def _numbers(values: Sequence[float | None]) -> str:
    return "[" + ", ".join("null" if each is None else repr(float(each)) for each in values) + "]"


def _text(name: str) -> str:
    """A name as YAML that reads back as the same text."""
    quoted = name.replace("'", "''")
    return f"'{quoted}'"
