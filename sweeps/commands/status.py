"""`grasp status`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command, one_name

HELP = """\
Shows what the driver of a sweep is doing, from another terminal or machine that sees the output folder: cells, rate, time left,
workers and what they plan, cells that had to be tried again, and what waits to be tracked. Of a driver that died it says so.

examples
  grasp status
  grasp status h50 --watch
  grasp status h50 --json output=/data/run
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp status`."""
    parser.add_argument("words", nargs="*", metavar="SWEEP", help="name of a sweep (default: the latest); output=FOLDER")
    parser.add_argument("--watch", action="store_true", help="again every second, until its driver ends")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.config.outputs import outputs_of
    from sweeps.running.status_view import status

    name = one_name("status", arguments.words)
    return status(name, outputs_of(arguments.words), Console(), arguments.watch, arguments.json)


COMMAND = Command("show what a running sweep is doing", HELP, configure, run)
"""What `grasp status` is."""
