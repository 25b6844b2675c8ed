"""`grasp reproduce`."""

from __future__ import annotations

import argparse
from pathlib import Path

from sweeps.console.command import Command
from world_models.errors import UserError

HELP = """\
Runs a published evaluation on files of yours: the checkpoint is imported, its problems are drawn by the published random calls,
planned by the published solver, at random, and by grasp and cem, and the published figure is set beside yours, with both
intervals. The table above it compares the planners with the published solver, problem by problem: better, worse, unclear.
Without arguments it lists the figures that it knows. docs/reproduce.md says what was verified, and what only your files can
show.

Before it plans, it says how long that takes, as far as earlier cells tell; --dry-run ends there.

examples
  grasp reproduce
  grasp reproduce lewm --checkpoint lewm-pusht --data pusht_expert_train.h5
  grasp reproduce lewm --checkpoint lewm-pusht --data pusht_expert_train.h5 seeds=1
  grasp reproduce dino_wm --checkpoint pusht/checkpoints --encoder dinov2_vits14_pretrain.pth --data pusht_noise/val
  grasp reproduce clear_strict --checkpoint lewm-pusht --data pusht_expert_train.h5 problems.manifest=strict-seed42-n100.json
  grasp reproduce grasp_75 --checkpoint lewm-pusht --data pusht_expert_val.h5 backend.address=auto
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp reproduce`."""
    parser.add_argument("words", nargs="*", metavar="PROTOCOL", help="a protocol with published figures; changes as key=value")
    parser.add_argument("--checkpoint", type=Path, metavar="PATH", help="a public checkpoint or its folder")
    parser.add_argument("--data", metavar="PATH", help="the dataset whose rows are planned between (docs/data.md)")
    parser.add_argument("--task", help="the task, where the checkpoint does not tell its environment")
    parser.add_argument("--encoder", type=Path, metavar="FILE", help="encoder weights that the checkpoint lacks")
    parser.add_argument("--trained-on", metavar="NAME", help="the checkpoint's environment, where it tells none")
    parser.add_argument("--weights", choices=("trained", "averaged"), help="the optimiser's, or their average (EMA)")
    parser.add_argument("--dry-run", action="store_true", help="say what would run and how long it takes")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.console.command import one_name
    from sweeps.reproduce.reproduce import Request, overview, reproduce
    from world_models.adapters.base import Given

    name = one_name("reproduce", arguments.words, "protocol")
    if name is None and not arguments.words and arguments.checkpoint is None:
        return overview(Console())
    if name is None:
        raise UserError("grasp reproduce lacks a protocol: give one that it lists without arguments, such as lewm.")
    if arguments.checkpoint is None:
        raise UserError(f"grasp reproduce {name} lacks a checkpoint: give one with --checkpoint PATH.")
    request = Request(
        protocol=name,
        checkpoint=arguments.checkpoint,
        data=arguments.data,
        task=arguments.task,
        encoder=arguments.encoder,
        given=Given(arguments.weights, arguments.trained_on),
        overrides=tuple(word for word in arguments.words if "=" in word),
        dry_run=arguments.dry_run,
    )
    return reproduce(request, Console())


COMMAND = Command("plan a public checkpoint as published, and compare with the published figure", HELP, configure, run)
"""The command `grasp reproduce`."""
