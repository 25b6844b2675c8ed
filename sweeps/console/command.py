"""A command of the command line: its help, its options, and what they share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from world_models.errors import UserError


@dataclass(frozen=True)
class Command:
    """A line for the overview, the long help, the options, and what the command does.

    `run` returns the exit code. It imports what it needs when it is called: `grasp --help` loads no heavy library.
    """

    summary: str
    help_text: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """`key=value` words, and the folder of the user's own configs."""
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration")
    add_conf(parser)


def add_conf(parser: argparse.ArgumentParser) -> None:
    """The folder of the user's own configs."""
    parser.add_argument("--conf", type=Path, metavar="FOLDER", help="your own configs, laid out like sweeps/conf")


def add_views(parser: argparse.ArgumentParser) -> None:
    """How progress is shown."""
    views = parser.add_mutually_exclusive_group()
    views.add_argument("--quiet", action="store_true", help="show nothing but tables and troubles")
    views.add_argument("--json", action="store_true", help="progress as one JSON object per line; words go to standard error")


def names_among(words: Sequence[str]) -> list[str]:
    """The words that are not `key=value`."""
    return [word for word in words if "=" not in word]


def one_name(verb: str, words: Sequence[str], kind: str = "sweep") -> str | None:
    """The one word that is not `key=value`, if there is one; UserError for more."""
    names = names_among(words)
    if len(names) > 1:
        raise UserError(f"grasp {verb} takes one {kind}, not {len(names)}: give {names[0]} or {names[1]}.")
    return names[0] if names else None
