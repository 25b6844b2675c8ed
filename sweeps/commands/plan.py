"""`grasp plan`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command, add_overrides

HELP = """\
Plans one problem in this process, executes the plan in the simulator, prints what happened, and saves a picture and an
animation to OUTPUT/plans.

examples
  grasp plan                                            the wall with GRASP
  grasp plan task=push_t planner=cem horizon=50 seed=3
  grasp plan task=wall world_model=outputs/models/wall planners.grasp.settings.iterations=500
  grasp plan task=push_t mode=mpc:10                    replanned every 10 environment steps
"""


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.running.plan import plan

    return plan(arguments.overrides, Console(), arguments.conf)


COMMAND = Command("plan one problem and save a picture and an animation of it", HELP, add_overrides, run)
"""The command `grasp plan`."""
