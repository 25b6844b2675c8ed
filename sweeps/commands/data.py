"""`grasp data`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command, add_plugins

HELP = """\
inspect PATH says what a dataset is: its kind, episodes, columns, units and statistics, what it can be used for, which tasks
fit, and what is wrong with it, with episode and row. Exit code 0: it is sound, 1: something is wrong with it.

stats PATH prints every feature's bounds, mean and deviation; columns=[action,state] takes some columns only.

view PATH episode=3 out=FOLDER draws an episode's curves, and its pictures as an animation.

split PATH out=FILE.json writes which episodes are for training and which for validation (validation=0.1, seed=0), as
`grasp train MODEL data=PATH` divides them.

convert PATH out=FOLDER writes it in our own form, which is read fastest. After a stop the same command goes on; at the end
every episode is read back and compared. columns=[action,pixels] takes some columns only.

task PATH conf=FOLDER writes a task without a simulator for it, and a world model that learns it: plans are then judged by what
the model predicts. name=NAME, observation=[COLUMNS] and action=COLUMN where the dataset leaves a choice.

The kind is found by the content; kind=NAME names it, or a plug-in that reads it. PATH may be an address such as
s3://bucket/folder for our own form and Parquet. docs/data.md lists the kinds.

examples
  grasp data inspect pusht_expert.h5
  grasp data inspect ~/.minari/datasets/D4RL/door/human-v2 --json
  grasp data stats pusht_expert.h5 columns=[action]
  grasp data view pusht_expert.h5 episode=3 out=outputs/view
  grasp data split pusht_expert.h5 validation=0.2 out=outputs/split.json
  grasp data convert pusht_expert.h5 out=pusht
  grasp data task arm.h5 conf=my_conf
  grasp data inspect logs --plugin ./logs.py:Logs kind=./logs.py:Logs
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp data`."""
    parser.add_argument("verb", metavar="inspect|stats|view|split|convert|task", help="what to do with it")
    parser.add_argument("path", metavar="PATH", help="a file, a folder or an address")
    parser.add_argument("words", nargs="*", metavar="key=value", help="kind=NAME, and the verb's own, such as out=FOLDER")
    parser.add_argument("--frames", action="store_true", help="inspect: unpack every picture, not only those of some episodes")
    parser.add_argument("--json", action="store_true", help="inspect and stats: print one JSON object")
    add_plugins(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb, and return the exit code."""
    from sweeps.data import verbs

    return verbs.run(arguments)


COMMAND = Command("look at, split and convert recorded datasets", HELP, configure, run)
"""The command `grasp data`."""
