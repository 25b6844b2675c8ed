"""`grasp compare`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command, names_among
from world_models.errors import UserError

HELP = """\
Compares two sweeps by task, planner and horizon on the seeds that both have planned, for example of two code revisions, two
world models or two settings. A sweep is called better only where the test, adjusted for all comparisons, says so.

examples
  grasp compare before after
  grasp compare smoke smoke@/data/old_outputs      sweeps of the same name in two output folders
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp compare`."""
    parser.add_argument("words", nargs="*", metavar="SWEEP", help="two sweeps, NAME or NAME@FOLDER; output=FOLDER")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.config.outputs import outputs_of
    from sweeps.reports.compare import compare

    names = names_among(arguments.words)
    if len(names) != 2:
        raise UserError(f"grasp compare takes two sweeps, not {len(names)}: give NAME NAME, or NAME NAME@FOLDER.")
    return compare(names[0], names[1], outputs_of(arguments.words), Console())


COMMAND = Command("show where two sweeps differ, on the seeds that both have", HELP, configure, run)
"""The command `grasp compare`."""
