"""`grasp status`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command, one_name

HELP = """\
Shows what a sweep's driver is doing, from another terminal or from any machine that sees the output folder: cells, rate, time
left, workers and what they plan, retried cells, and what still waits to be tracked. It also shows when a driver has died.

examples
  grasp status
  grasp status h50 --watch
  grasp status h50 --json output=/data/run
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp status`."""
    parser.add_argument("words", nargs="*", metavar="SWEEP", help="name of a sweep (default: the latest); output=FOLDER")
    parser.add_argument("--watch", action="store_true", help="refresh every second until the driver ends")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.config.outputs import outputs_of
    from sweeps.running.status_view import status

    name = one_name("status", arguments.words)
    return status(name, outputs_of(arguments.words), Console(), arguments.watch, arguments.json)


COMMAND = Command("show what a running sweep is doing", HELP, configure, run)
"""The command `grasp status`."""
