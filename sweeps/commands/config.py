"""`grasp config`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command, add_conf
from world_models.errors import UnknownNameError

HELP = """\
Everything that a command would run with, composed as it composes it and checked, with where each value came from: a file of
sweeps/conf or of your own folder, an override, a rule of a planner's file, or a tuned file. Nothing is run and nothing written.

examples
  grasp config                                     the default sweep
  grasp config task=wall planner=grasp seeds=64    the same words as after grasp sweep
  grasp config tune planner=cem                    the config of another command: sweep, plan, tune, diagnose, train or quality
  grasp config --conf my_conf sweep=mine           with your own files

A text is taken as it is typed (name=2025_11_29), a number as a number; a list is [a,b] or a,b. Values with brackets, braces or
quotes that are one text are quoted twice, for Hydra and for the shell: "tracking.experiment='a {b}'". ${oc.env:NAME} is the
environment variable NAME, in every value. ~space.noise takes an entry out of a group that may lack it.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp config`."""
    parser.add_argument("words", nargs="*", metavar="[COMMAND] key=value", help="a command (default: sweep), and its overrides")
    add_conf(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    import sys

    from sweeps.config.compose import compose
    from sweeps.config.explained import explained
    from sweeps.config.schema.configs import COMMANDS

    words = list(arguments.words)
    command = words.pop(0) if words and "=" not in words[0] and not words[0].startswith("~") else "sweep"
    if command not in COMMANDS:
        raise UnknownNameError("command with a config", command, COMMANDS)
    if command == "tune":
        from sweeps.tuning.spec import with_space

        words = with_space(words, arguments.conf)
    sys.stdout.write(explained(compose(COMMANDS[command], words, arguments.conf), arguments.conf))
    return 0


COMMAND = Command("print what a command would run with, and where each value came from", HELP, configure, run)
"""The command `grasp config`."""
