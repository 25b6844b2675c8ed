"""`grasp sync`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command, names_among
from world_models.errors import UserError

HELP = """\
A sweep goes on while MLflow cannot be reached, and what MLflow lacks waits in OUTPUT/outbox. The next run of a sweep sends it,
and so does this command, which can be stopped and run again and writes nothing twice. A sweep that you name is compared with
MLflow in full. Credentials: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; see
docs/tracking.md.

examples
  grasp sync                                     everything that waits
  grasp sync smoke                               one sweep, whatever MLflow already has of it
  grasp sync output=/data/run
  grasp sync smoke tracking.uri=http://tracking:5000    to another server
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp sync`."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="SWEEP",
        help="name of a sweep (default: everything that waits); output=FOLDER, tracking.uri=URI",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.running.sync import sync

    names = names_among(arguments.words)
    if len(names) > 1:
        raise UserError(f"grasp sync takes one sweep, not {len(names)}: give {names[0]} or {names[1]}, or none for all.")
    return sync(names[0] if names else None, [word for word in arguments.words if "=" in word], Console())


COMMAND = Command("send MLflow what it still lacks", HELP, configure, run)
"""The command `grasp sync`."""
