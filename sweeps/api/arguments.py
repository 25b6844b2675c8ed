"""Conversion of the arguments of a Python call to the words of a command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from rich.console import Console

from sweeps.config.overrides import override_text
from sweeps.console.display import View
from world_models.errors import UserError, require


def override_words(words: Sequence[str], keys: Mapping[str, object]) -> list[str]:
    """All overrides as words: `("task=wall",)` and `{"seeds": 4}` are `["task=wall", "seeds=4"]`; None values are left out.

    Strings are read as on the command line, so that `planner="grasp,gd"` names two planners; a path is one value, whatever it
    contains. Raises UserError for a key that is given twice, and for a value that a config cannot hold.
    """
    for word in words:
        require(isinstance(word, str), f"{word!r} is not an override: give words such as 'task=wall', or keywords.")
    said = [word.partition("=")[0].lstrip("+~") for word in words]
    for key in keys:
        require(key not in said or keys[key] is None, f"{key} is given as a word and as a keyword: give it once.")
    return [*words, *(f"{key}={_text(key, value)}" for key, value in keys.items() if value is not None)]


def _text(key: str, value: object) -> str:
    return value if isinstance(value, str) else override_text(_plain(key, value))


def _plain(key: str, value: object) -> object:
    """The value in the types of a config; UserError if there is no such type."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, PathLike):
        return str(Path(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(f"{key}.{name}", item) for name, item in value.items()}
    if isinstance(value, list | tuple | range | np.ndarray):
        return [_plain(key, item) for item in value]
    raise UserError(f"{key} is a {type(value).__name__}: give a number, a string, a path, a list or a dict.")


def call_text(function: str, words: Sequence[str]) -> str:
    """The call that corresponds to the words, for people: `grasp.sweep('task=wall', 'seeds=4')`."""
    return f"grasp.{function}({', '.join(map(repr, words))})"


def console_and_view(quiet: bool) -> tuple[Console, View]:
    """The console and view for progress and tables; both print nothing if `quiet`."""
    return Console(quiet=quiet), View.QUIET if quiet else View.LIVE
