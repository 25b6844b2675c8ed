"""The verb `grasp models`: its options, and what it calls."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "words", nargs="*", metavar="inspect PATH | import PATH | MODEL", help="see below; default: list the zoo"
    )
    parser.add_argument("--name", help="import: name of the model, a folder of OUTPUT/models")
    parser.add_argument("--task", help="import: task to plan on; its settings follow as key=value")
    parser.add_argument("--encoder", type=Path, metavar="FILE", help="import: encoder weights that the checkpoint lacks")
    parser.add_argument("--action-mean", type=_numbers, metavar="A,B", help="import: mean of the training data's actions")
    parser.add_argument("--action-std", type=_numbers, metavar="A,B", help="import: their standard deviation")
    parser.add_argument("--readout", action="store_true", help="import: fit a linear readout, for success in the model")


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def run(arguments: argparse.Namespace) -> int:
    """List, inspect or import models; the exit code."""
    from sweeps.commands import checkpoints as model_files

    return model_files.run(arguments)
