"""A command of the command line, with its help and options, and the options that commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from world_models.errors import UserError


@dataclass(frozen=True)
class Command:
    """A command: its line in the overview, its long help, its options and the function that runs it.

    `run` returns the exit code. It imports what it needs when it is called, so that `grasp --help` loads no heavy library.
    """

    summary: str
    help_text: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add the `key=value` overrides and the folder of the user's own configs."""
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration")
    add_conf(parser)


def add_conf(parser: argparse.ArgumentParser) -> None:
    """Add the folder of the user's own configs."""
    parser.add_argument("--conf", type=Path, metavar="FOLDER", help="your own configs, laid out like sweeps/conf")


def add_plugins(parser: argparse.ArgumentParser) -> None:
    """Add the option that names code of the user's own."""
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="TARGET", help="code of yours that may be imported; may be repeated"
    )


def add_views(parser: argparse.ArgumentParser) -> None:
    """Add the options for how progress is shown."""
    views = parser.add_mutually_exclusive_group()
    views.add_argument("--quiet", action="store_true", help="show only tables and problems")
    views.add_argument(
        "--json", action="store_true", help="print progress as one JSON object per line; messages go to standard error"
    )


def names_among(words: Sequence[str]) -> list[str]:
    """The arguments that are not `key=value`."""
    return [word for word in words if "=" not in word]


def one_name(command: str, words: Sequence[str], kind: str = "sweep") -> str | None:
    """The one argument that is not `key=value`, if there is one; UserError for more."""
    names = names_among(words)
    if len(names) > 1:
        raise UserError(f"grasp {command} takes one {kind}, not {len(names)}: give {names[0]} or {names[1]}.")
    return names[0] if names else None
