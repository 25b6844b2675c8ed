"""`grasp check`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command, names_among
from world_models.errors import UserError

HELP = """\
Reads every file of an output folder, compares every part of its ledger with its digests, and names what is damaged. Exit code
0: all is sound, 1: something is damaged. With --set-aside, damaged parts of the ledger move to LEDGER/quarantine, where no
command reads them; a sweep that is run again then plans their cells once more.

With a target, or the name of an installed plug-in, runs the suite of what it is instead: a task, a world model, a goal cost, a
planner, a reader of datasets or an adapter of checkpoints, and says which promises hold. Other words are its settings, but for
horizon=20 (of a task's problems), observation=4 (features that a state model observes), path=FILE (a small dataset or a
checkpoint to read) and kind=task (where it cannot be told; kind=adapter always says so).

examples
  grasp check
  grasp check output=/data/run
  grasp check --set-aside output=/data/run
  grasp check my_pkg.tasks:Glide horizon=40
  grasp check ./my_planner.py:Climbing samples=50
  grasp check ./my_data.py:Mine path=rows.bin
  grasp check ./my_adapter.py:Mine kind=adapter path=weights.pt task=wall
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp check`."""
    parser.add_argument("words", nargs="*", metavar="[TARGET] key=value", help="output=FOLDER, storage=FOLDER or URI")
    parser.add_argument("--set-aside", action="store_true", help="move damaged parts of the ledger to its quarantine")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.config.outputs import outputs_of
    from sweeps.running.check import check

    if names := names_among(arguments.words):
        return _check_plugin(names, [word for word in arguments.words if "=" in word])
    return check(outputs_of(arguments.words), Console(), arguments.set_aside)


def _check_plugin(names: list[str], words: list[str]) -> int:
    """Run the suite of one plug-in."""
    from rich.console import Console

    from sweeps.config.overrides import plain_values
    from sweeps.plugins.listing import check_plugin

    if len(names) > 1:
        raise UserError(f"grasp check takes one target, not {len(names)}: give {names[0]} or {names[1]}.")
    return check_plugin(names[0], plain_values(words), Console())


COMMAND = Command("compare an output folder with its digests, or run the suite of a plug-in", HELP, configure, run)
"""The command `grasp check`."""
