"""Plug-ins in a user's own words and files: targets are let in here, and only here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from planners import BUILT_IN
from world_models.adapters.kinds import MODULES
from world_models.checkpoints.store import zoo_names
from world_models.datasets.opening import READERS
from world_models.errors import UserError, require
from world_models.plugins import PLUGINS, Kind, is_target
from world_models.tasks import TASKS

OURS = {
    Kind.TASK: lambda: TASKS,
    Kind.PLANNER: lambda: BUILT_IN,
    Kind.WORLD_MODEL: zoo_names,
    Kind.DATASET: lambda: READERS,
    Kind.ADAPTER: lambda: MODULES,
}
"""The names of ours by kind."""


def is_ours(kind: Kind, name: str) -> bool:
    """Whether a name is one of ours."""
    return kind in OURS and name in OURS[kind]()


def admitted(kind: Kind, text: str, extra: Path | None) -> str:
    """The name by which what the user named is found: that of a target, which may be imported from now on, or the text itself.

    A file is looked for below the current folder, then below that of the user's configs. Raises UserError for one that is not
    there, for two of one name, and for a name of ours that an installed package offers too.
    """
    if not is_target(text):
        refuse_clash(kind, text)
        return text
    folders = (Path.cwd(), *(() if extra is None else (extra,)))
    return PLUGINS.admit(kind, text, folders).text


def refuse_clash(kind: Kind, name: str) -> None:
    """Raise UserError for a name of ours that an installed package offers too, naming both homes."""
    other = next((offer for offer in PLUGINS.listed() if (offer.kind, offer.name) == (kind, name)), None)
    if other is not None and is_ours(kind, name):
        raise UserError(
            f"two {kind.value}s are called {name!r}, one of grasp-orchestrator and one of {other.home}: rename that one, or "
            "uninstall its package."
        )


def admit_for_all(texts: Sequence[str]) -> None:
    """Let targets that the user named beside a command be imported, whatever they are. Raises UserError for a bad one."""
    for text in texts:
        for kind in Kind:
            PLUGINS.admit(kind, text)


def name_or_target(kind: Kind, where: str, name: str | None, target: str | None, extra: Path | None) -> str | None:
    """The name of an entry with a name or a target; None with neither. Raises UserError for both, or for a bad target."""
    if target is None:
        return None if not name else admitted(kind, name, extra)
    require(not name, f"{where} has both the name {name!r} and the target {target!r}: leave one of them out.")
    if not is_target(target):
        raise UserError(f"{where}.target {target!r} is not a target: write package.module:Name, or ./file.py:Name for a file.")
    return admitted(kind, target, extra)


def is_plugin(kind: Kind, option: object) -> bool:
    """Whether an option of a group is a target, or the name of a plug-in that is registered or installed."""
    return isinstance(option, str) and (is_target(option) or option in PLUGINS.names(kind))
