"""`grasp rerun`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command, add_plugins, names_among
from world_models.errors import UserError

HELP = """\
Plans a cell of the ledger again from its record alone, which holds task, world model, planner, settings, horizon and seed. The
cell is planned on its own, whatever batch it was part of. Exit code 0 means the same success and a distance within 0.001 of the
recorded one; anything else is 1.

A cell of your own planner, task or model needs it named with --plugin: code is imported only when you name it, never because
a record does.

examples
  grasp rerun 3f9a2c             the cell whose id begins like this (column cell_id of the ledger)
  grasp rerun 3f9a2c output=/data/run
  grasp rerun 3f9a2c --plugin ./my_planner.py:Climbing
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp rerun`."""
    parser.add_argument("words", nargs="*", metavar="CELL_ID", help="a cell's id, or its beginning; output=FOLDER")
    add_plugins(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.config.outputs import outputs_of
    from sweeps.config.plugin_names import admit_for_all
    from sweeps.running.rerun import rerun

    names = names_among(arguments.words)
    if len(names) > 1:
        raise UserError(f"grasp rerun takes one cell, not {len(names)}: give {names[0]} or {names[1]}.")
    admit_for_all(arguments.plugin)
    return rerun(names[0] if names else None, outputs_of(arguments.words), Console())


COMMAND = Command("plan a recorded cell again, and check whether it agrees", HELP, configure, run)
"""The command `grasp rerun`."""
