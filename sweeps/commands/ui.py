"""`grasp ui`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command, names_among
from world_models.errors import UserError

HELP = """\
Starts an MLflow server on this machine for the output folder's tracking store, and prints where to click.

examples
  grasp ui
  grasp ui --port 5001 output=/data/run
  grasp ui tracking.uri=postgresql://tracking/mlflow    another store; if it is a server, its address is printed
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp ui`."""
    parser.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (default 5000)")
    parser.add_argument("--optuna", action="store_true", help="show the studies in optuna-dashboard instead")
    parser.add_argument(
        "words", nargs="*", metavar="output=FOLDER", help="the sweeps' folder (default: outputs); tracking.uri=URI"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.ui.servers import show, show_studies

    stray = names_among(arguments.words)
    if stray:
        raise UserError(f"grasp ui does not take {stray[0]!r}: it shows every sweep of output=FOLDER.")
    return (show_studies if arguments.optuna else show)(arguments.words, arguments.port, Console())


COMMAND = Command("review sweeps in MLflow's UI", HELP, configure, run)
"""The command `grasp ui`."""
