"""`grasp report`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command, one_name

HELP = """\
Prints the tables of a sweep from the ledger and writes report.html (open it in a browser), report.txt, .csv and .tex, and
figures as PNG and PDF, to OUTPUT/sweeps/SWEEP.

examples
  grasp report                   the latest sweep
  grasp report smoke
  grasp report output=/data/run  another output folder
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp report`."""
    parser.add_argument("words", nargs="*", metavar="SWEEP", help="name of a sweep (default: the latest); output=FOLDER")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.config.outputs import outputs_of
    from sweeps.running.report import report

    return report(one_name("report", arguments.words), outputs_of(arguments.words), Console())


COMMAND = Command("print a sweep's tables again, and write its report files", HELP, configure, run)
"""The command `grasp report`."""
