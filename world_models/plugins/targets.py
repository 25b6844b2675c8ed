"""Targets: `package.module:Name` or `./file.py:Name`, the places of a user's own classes and functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from world_models.errors import UserError, require

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


@dataclass(frozen=True)
class Target:
    """A name in a module, which is a file of the user's or can be imported."""

    module: str
    """Name that the module is imported by; of a file, its name without `.py`."""
    name: str
    """The attribute, e.g. `Climbing`."""
    file: Path | None = None
    """The absolute path of a file that is named by its path; None for a module that can be imported."""

    @property
    def text(self) -> str:
        """The target without folders, as records name it: `package.module:Name` or `file.py:Name`."""
        return f"{self.module if self.file is None else self.file.name}:{self.name}"

    @property
    def top(self) -> str:
        """The top-level module."""
        return self.module.partition(".")[0]


def is_target(text: object) -> bool:
    """Whether a text looks like a target: a module or a file before a colon, and a name after it."""
    if not isinstance(text, str) or "://" in text:
        return False
    place, colon, name = text.rpartition(":")
    return bool(colon) and _NAME.fullmatch(name) is not None and (place.endswith(".py") or _NAME.fullmatch(place) is not None)


def read_label(text: str) -> str:
    """A short name for a target: the last part of its attribute."""
    return text.rpartition(":")[2].rpartition(".")[2]


def read_target(text: str, folders: Sequence[Path] = ()) -> Target:
    """The target that a text names; a relative file is looked for below each of `folders`, by default the current one.

    Raises UserError for a text that is not a target, and for a file that is not there or whose name cannot be imported.
    """
    require(
        is_target(text),
        f"{text!r} is not a target: write package.module:Name for what can be imported, or ./file.py:Name for a file.",
    )
    place, _, name = text.rpartition(":")
    if not place.endswith(".py"):
        return Target(place, name)
    places = [folder / Path(place).expanduser() for folder in folders or (Path.cwd(),)]
    found = next((path.resolve() for path in places if path.is_file()), None)
    if found is None:
        looked = " and ".join(str(path.parent.resolve()) for path in places)
        raise UserError(f"target {text!r}: there is no file {Path(place).name} in {looked}: give its path.")
    sound = found.stem.isidentifier() and found.stem != "__init__"
    require(sound, f"target {text!r}: a module cannot have the name {found.stem!r}: use letters, digits and _ only.")
    return Target(found.stem, name, found)
