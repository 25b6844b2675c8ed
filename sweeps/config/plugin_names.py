"""Plug-ins in a user's own words and files: targets are let in here, and only here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from world_models.errors import UserError, require
from world_models.plugins import PLUGINS, Kind, is_target


def admitted(kind: Kind, text: str, extra: Path | None) -> str:
    """The name by which what the user named is found: that of a target, which may be imported from now on, or the text itself.

    A file is looked for below the current folder, then below that of the user's configs. Raises UserError for one that is not
    there, and for two of one name.
    """
    if not is_target(text):
        return text
    folders = (Path.cwd(), *(() if extra is None else (extra,)))
    return PLUGINS.admit(kind, text, folders).text


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
