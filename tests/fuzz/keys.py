"""The keys that commands have, walked independently of the door of input, and ways to misspell them."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from planners import full_settings
from sweeps.config.files import groups
from sweeps.config.schema.configs import COMMANDS

LABELS = {"tasks": ("wall", "push_t"), "planners": ("grasp", "gd", "cem")}
"""Entries of the open groups whose keys are tried."""
SHORT = ("world_model", "horizon", "seed", "goal_cost", "noise_seed")
"""Singular keys that commands with a grid take too."""


@dataclasses.dataclass(frozen=True)
class Key:
    """A key of a command, with what it takes as the class says: `text`, `int`, `float`, `bool`, `list`, or nothing known."""

    name: str
    takes: str = ""
    optional: bool = False


@cache
def keys(command: str) -> tuple[Key, ...]:
    """Every key of a command's config; in open groups those of some entries."""
    found = list(_walk(COMMANDS[command], ""))
    for planner in LABELS["planners"]:
        found += [Key(f"planners.{planner}.settings.{name}") for name in full_settings(planner)]
        found += [Key(f"planners.{planner}.{name}") for name in ("name", "overrides", "settings")]
    for task in LABELS["tasks"]:
        found += [
            Key(f"tasks.{task}.{name}") for name in ("name", "settings", "world_model", "horizons", "settings.action_block")
        ]
    if command == "tune":
        found += [Key(f"space.{name}") for name in ("noise", "noise.low", "noise.high", "noise.log", "lr.low", "x.choices")]
        found += [Key(name) for name in ("constraints.seconds", "constraints.x", "starts.mine", "starts.mine.noise")]
    if command == "train":
        found = [key for key in found if key.name.partition(".")[0] not in ("tasks", "planners")]
        found += [Key(f"train.{name}") for name in ("steps", "trajectories", "fit", "fit.steps", "seed", "x", "batch")]
        found += [Key(name) for name in ("train", "task", "task.name", "task.settings.speed", "world_model.train.steps")]
    if command == "quality":
        found = [key for key in found if not key.name.startswith(("planners.", "tasks."))]
        found += [Key(f"tuning.{name}") for name in ("trials", "top", "seeds", "words", "x")] + [Key("places.wall_50.task")]
        found += [Key(name) for name in ("planners.grasp", "planners.grasp.words", "guess.x", "worst.count", "ablation.at")]
    return tuple(found)


@cache
def options(command: str) -> tuple[tuple[str, str], ...]:
    """The groups of a command with each option that they have."""
    return tuple((group, name) for group in COMMANDS[command].GROUPS for name in groups().get(group, ()))


def is_unknown(command: str, key: str) -> bool:
    """Whether the first part of a key is nothing that the command has."""
    kind = COMMANDS[command]
    first = {field.name for field in dataclasses.fields(kind)} | set(kind.GROUPS)
    first |= {"train", "task"} if command == "train" else set(SHORT)
    return key.partition(".")[0] not in first


def _walk(kind: Any, prefix: str) -> Iterator[Key]:
    for name, hint in typing.get_type_hints(kind).items():
        if typing.get_origin(hint) is typing.ClassVar or name.startswith("__"):
            continue
        members = _members(hint)
        sections = [each for each in members if dataclasses.is_dataclass(each)]
        for section in sections:
            yield from _walk(section, f"{prefix}{name}.")
        takes = {str: "text", Path: "text", int: "int", float: "float", bool: "bool", tuple: "list"}
        plain = [
            takes[base]
            for each in members
            if (base := typing.get_origin(each) or each) in takes and str not in typing.get_args(each)
        ]
        yield Key(prefix + name, plain[0] if len(plain) == 1 and not sections else "", type(None) in members)


def _members(hint: Any) -> tuple[Any, ...]:
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    return tuple(each for member in typing.get_args(hint) for each in _members(member)) if union else (hint,)
