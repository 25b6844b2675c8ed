"""`grasp sweep`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command, add_overrides, add_views

HELP = """\
A sweep is tasks x world models x planners x horizons x seeds. Every finished cell is kept in OUTPUT/ledger, so a sweep that
is run again plans only what is missing: after Ctrl-C, after a crash, or after adding seeds, horizons or planners.

examples
  grasp sweep                                           the default sweep (conf/sweep/default.yaml)
  grasp sweep --dry-run seeds=64                        how many cells that would be, how many are new, how long it takes
  grasp sweep task=push_t planner=grasp,cem seeds=16    one task, two planners, 16 seeds
  grasp sweep name=long task=wall horizons=[50,100]     under its own name, so that `grasp report long` finds it
  grasp sweep planners.grasp.settings.iterations=200    one setting; it wins over conf/planner and conf/tuned
  grasp sweep mode=open_loop,mpc:10                     plans executed to the end, and replanned every 10 environment steps
  grasp sweep seeds.start=100 backend=inline            other problems, in this process, without Ray
  grasp sweep problems.data=rows.h5 seeds=50            between rows of a recorded dataset (docs/data.md)
  grasp sweep --conf my_conf sweep=mine                 my_conf/sweep/mine.yaml
  grasp sweep sweep=h50,h100                            two sweeps on one pool, each cell once, a table for each
  grasp sweep --join sweep=h100                         while a driver is running: it plans these cells as well
  grasp sweep --replan task=wall                        plan these cells anew, for example with another version of a library
  grasp sweep backend.address=auto                      on the Ray cluster that this machine belongs to

Ctrl-C waits for the batches in flight and prints how to go on; a second one stops at once. Nothing recorded is ever lost.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp sweep`."""
    add_overrides(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would run and how long it would take")
    parser.add_argument("--retry-failed", action="store_true", help="plan cells that failed before once more")
    parser.add_argument(
        "--replan", action="store_true", help="plan finished cells anew; a new record takes the old one's place"
    )
    parser.add_argument("--before", metavar="TIME", help="with --replan: only cells that finished before this time (ISO 8601)")
    parser.add_argument("--join", action="store_true", help="if a driver is already running, have it plan this sweep as well")
    add_views(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.console.display import View
    from sweeps.running.sweep import SweepOptions, redo_of, sweep

    view = View.QUIET if arguments.quiet else View.JSON if arguments.json else View.LIVE
    redo = redo_of(arguments.retry_failed, arguments.replan, arguments.before)
    options = SweepOptions(arguments.dry_run, redo, arguments.join, view)
    return sweep(arguments.overrides, Console(stderr=view is View.JSON), arguments.conf, options)


COMMAND = Command("plan a grid of cells and print a table of success rates", HELP, configure, run)
"""The command `grasp sweep`."""
