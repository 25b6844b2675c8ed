"""Kinds of foreign checkpoints that can be read, ours and those of plug-ins, and recognition of a file's kind."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from world_models.adapters.base import NOTHING, Adapter, Found, Given, Imported
from world_models.adapters.files import passed_over, read_content, weight_file
from world_models.adapters.origins import check_environment, known_name, task_environment
from world_models.adapters.others import told_apart
from world_models.adapters.pickles.unpickle import describe
from world_models.errors import UnknownNameError, UserError
from world_models.plugins import PLUGINS, Kind, is_target, require_members
from world_models.tasks.base import Task

MODULES: Mapping[str, str] = {
    "dino-wm": "patches.dino_wm",
    "jepa-wms": "patches.jepa_wms",
    "prejepa": "patches.prejepa",
    "tdmpc2": "tdmpc2.files",
    "pldm": "lewm.pldm",
    "lewm": "lewm.files",
}
"""Modules of this package by kind, imported on first use."""


def kinds() -> list[str]:
    """All kinds that can be read: those of plug-ins first, then ours."""
    return [*(name for name in PLUGINS.names(Kind.ADAPTER) if name not in MODULES and _may_adapt(name)), *MODULES]


def _may_adapt(name: str) -> bool:
    """Whether a plug-in can be an adapter: what the user names beside a command may be of any kind."""
    plugin = PLUGINS.find(Kind.ADAPTER, name)
    return not is_target(name) or (plugin is not None and {"recognise", "convert"} <= set(dir(plugin.value)))


def adapter(kind: str) -> Adapter:
    """The adapter of a kind. Raises UnknownNameError if there is none, UserError for a plug-in that lacks its methods."""
    if kind in MODULES:
        return cast(Adapter, importlib.import_module(f"world_models.adapters.{MODULES[kind]}"))
    if PLUGINS.find(Kind.ADAPTER, kind) is None:
        raise UnknownNameError("kind of checkpoint", kind, kinds())
    plugin = PLUGINS.demand(Kind.ADAPTER, kind, MODULES)
    try:
        made = plugin.value()
    except TypeError as error:
        raise UserError(f"adapter {kind!r} of {plugin.home} cannot be made ({error}): let it take no arguments.") from error
    require_members(f"adapter {kind!r} of {plugin.home}", made, Adapter)
    return made


def recognise(path: Path, given: Given = NOTHING) -> Found:
    """Description of a checkpoint file, or of the one in a folder. Nothing in it is executed.

    Its environment is what the file and its surroundings tell, else what the user says. Raises UserError for a file that is
    damaged, malicious or of an unknown kind, and for one that tells another environment than the user.
    """
    file = weight_file(path)
    for kind in kinds():
        found = adapter(kind).recognise(file, given)
        if found is not None:
            note = passed_over(path)
            return _placed(replace(found, kind=kind, notes=(*((note,) if note else ()), *found.notes)), given)
    raise UserError(_unknown(file))


def convert(found: Found, task: Task, encoder_path: Path | None = None) -> Imported:
    """The model of a file in our format, for a task.

    Raises UserError if its sizes or its environment do not fit, or its environment or the encoder's file is missing.
    """
    trained = found.sizes.get("environment")
    if trained is not None or found.asks_environment:
        check_environment(found.path, None if trained is None else str(trained), task_environment(task))
    return adapter(found.kind).convert(found, task, encoder_path)


def _placed(found: Found, given: Given) -> Found:
    """A description with the environment that the user says, if the file does not tell one."""
    if given.environment is None:
        return found
    if "environment" in found.sizes:
        check_environment(found.path, str(found.sizes["environment"]), given.environment)
        return found
    return replace(found, sizes={**found.sizes, "environment": known_name(given.environment)})


def _unknown(file: Path) -> str:
    content = read_content(file)
    if (sentence := told_apart(file, content)) is not None:
        return sentence
    held = ", ".join(f"{name[:60]!r} ({describe(value)})" for name, value in list(content.items())[:4]) or "nothing"
    more = f" and {len(content) - 4} more entries" if len(content) > 4 else ""
    return f"{file} is not a checkpoint of a known kind ({', '.join(kinds())}): it holds {held}{more}."
