"""`grasp check`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command, names_among
from world_models.errors import UserError

HELP = """\
Reads every file of an output folder, compares every part of its ledger with its digests, and names what is damaged. Exit code
0: all is sound, 1: something is damaged. With --set-aside, damaged parts of the ledger move to LEDGER/quarantine, where no
command reads them; a sweep that is run again then plans their cells once more.

examples
  grasp check
  grasp check output=/data/run
  grasp check --set-aside output=/data/run
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp check`."""
    parser.add_argument("words", nargs="*", metavar="key=value", help="output=FOLDER, storage=FOLDER or URI")
    parser.add_argument("--set-aside", action="store_true", help="move damaged parts of the ledger to its quarantine")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.config.outputs import outputs_of
    from sweeps.running.check import check

    if names := names_among(arguments.words):
        raise UserError(f"grasp check takes no name, but {names[0]!r} was given: it checks a whole folder, output=FOLDER.")
    return check(outputs_of(arguments.words), Console(), arguments.set_aside)


COMMAND = Command("compare everything in an output folder with its digests", HELP, configure, run)
"""The command `grasp check`."""
