"""`grasp models`."""

from __future__ import annotations

import argparse
from pathlib import Path

from sweeps.console.command import Command, add_plugins

HELP = """\
Lists the models that ship with the package, or those that you name. The error is the distance between the predicted and the
true position after n steps of the data's own actions, without observing the simulator in between; in brackets is its share of
the error of predicting that nothing moves. `inspect` shows what a checkpoint file is and which tasks it fits; `import` converts
it to this package's format; neither executes anything in the file. docs/checkpoints.md lists the kinds that can be read, and
--plugin names an adapter of your own for others.

examples
  grasp models
  grasp models outputs/models/wall
  grasp models inspect lewm/weights.pt
  grasp models import lewm-pusht --name lewm --task push_t --readout
  grasp models import weights.pt --name lewm --task push_t --trained-on push_t
  grasp models import agent.pt --name mine --task wall action_block=1 speed=1.0
"""


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp models`."""
    parser.add_argument(
        "words", nargs="*", metavar="inspect PATH | import PATH | MODEL", help="see below; default: list the zoo"
    )
    parser.add_argument("--name", help="import: name of the model, a folder in OUTPUT/models")
    parser.add_argument("--task", help="import: task to plan on; its settings follow as key=value")
    parser.add_argument("--encoder", type=Path, metavar="FILE", help="import: encoder weights that the checkpoint lacks")
    parser.add_argument("--action-mean", type=_numbers, metavar="A,B", help="import: mean of the training data's actions")
    parser.add_argument("--action-std", type=_numbers, metavar="A,B", help="import: their standard deviation")
    parser.add_argument("--trained-on", metavar="NAME", help="import, inspect: its environment, where the file tells none")
    parser.add_argument(
        "--weights", choices=("trained", "averaged"), help="import, inspect: those of the optimiser, or their average (EMA)"
    )
    add_plugins(parser)
    parser.add_argument("--readout", action="store_true", help="import: fit a linear readout, for success in the model")


def run(arguments: argparse.Namespace) -> int:
    """List, inspect or import models, and return the exit code."""
    from sweeps.models import checkpoints

    return checkpoints.run(arguments)


COMMAND = Command("list world models with their errors; inspect and import checkpoints", HELP, configure, run)
"""The command `grasp models`."""
