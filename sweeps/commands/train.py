"""`grasp train`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command, add_overrides

HELP = """\
Collects data in the simulator, trains a world model, and writes its weights and model card. After a stop, the same command
resumes where it was.

examples
  grasp train wall                                      to outputs/models/wall
  grasp train all out=world_models/zoo                  every model that ships with the package
  grasp train pendulum data=recorded.h5                 from recorded episodes, without a simulator (docs/data.md)
  grasp train push_t train.trajectories=500 out=/tmp/models
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp train`."""
    parser.add_argument("model", metavar="MODEL|all", help="a file of conf/world_model, or all of them")
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.models.train import train_models

    return train_models(arguments.model, arguments.overrides, Console(), arguments.conf)


COMMAND = Command("train world models", HELP, configure, run)
"""The command `grasp train`."""
