"""`grasp import`."""

from __future__ import annotations

import argparse
from pathlib import Path

from sweeps.console.command import Command, names_among
from world_models.errors import UserError

HELP = """\
Reads a file that grasp export has written: its cells are added to the ledger, its report works as if the sweep had been run
here, and running the sweep again plans what is missing. Records are checked against their ids; nothing in the file is executed.

examples
  grasp import smoke.grasp.zip
  grasp import smoke.grasp.zip --name theirs output=/data/run
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp import`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a file that grasp export has written")
    parser.add_argument("words", nargs="*", metavar="output=FOLDER", help="the output folder (default: outputs)")
    parser.add_argument("--name", help="another name for the sweep")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.archives.archive import import_archive
    from sweeps.config.outputs import outputs_of

    stray = names_among(arguments.words)
    if stray:
        raise UserError(f"grasp import takes one file, and {stray[0]!r} is a second: import them one after the other.")
    return import_archive(arguments.file, outputs_of(arguments.words), arguments.name, Console())


COMMAND = Command("read an exported sweep", HELP, configure, run)
"""The command `grasp import`."""
