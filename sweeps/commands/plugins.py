"""`grasp plugins`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command

HELP = """\
Lists tasks, world models, goal costs, planners and samplers that are not ours: those that installed packages offer as entry
points, with their homes. Nothing is imported for the list. With --check each is imported and its suite is run, as grasp check
TARGET does for one. Code of your own needs no package: name it where a name is asked for, as package.module:Name or
./file.py:Name.

examples
  grasp plugins
  grasp plugins --check
  grasp sweep task=wall planner=gd,./my_planner.py:Climbing       a planner in a file
  grasp sweep task=my_pkg.tasks:Glide world_model=my_pkg.models:load horizons=[20]
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp plugins`."""
    parser.add_argument("--check", action="store_true", help="import each and run its suite; exit code 1: one is broken")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.plugins.listing import plugins

    return plugins(Console(), arguments.check)


COMMAND = Command("list the tasks, models, goal costs and planners that other packages offer", HELP, configure, run)
"""The command `grasp plugins`."""
