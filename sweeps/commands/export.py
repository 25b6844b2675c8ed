"""`grasp export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from sweeps.console.command import Command, one_name

HELP = """\
Writes one zip file: the sweep's grid and config (without secrets), its records as Parquet, its report, the world models' names
and content digests, and the list of installed packages. The world models themselves are not included.

examples
  grasp export                         the latest sweep, to SWEEP.grasp.zip
  grasp export smoke --to /tmp/smoke.zip
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp export`."""
    parser.add_argument("words", nargs="*", metavar="SWEEP", help="name of a sweep (default: the latest); output=FOLDER")
    parser.add_argument("--to", type=Path, metavar="FILE", help="the archive (default: SWEEP.grasp.zip in this folder)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.archives.exporting import export
    from sweeps.config.outputs import outputs_of

    return export(one_name("export", arguments.words), outputs_of(arguments.words), arguments.to, Console())


COMMAND = Command("write a sweep to one file: grid, config, cells, environment", HELP, configure, run)
"""The command `grasp export`."""
