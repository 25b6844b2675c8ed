"""`grasp diagnose`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command, add_overrides

HELP = """\
Measures the claims that GRASP is built on, for one task and world model, and gives a verdict on each: how the curvature of the
shooting objective and of the lifted objective grows with the horizon, gradients by time step, brittle state gradients, and how
success and time change when noise, sync, detachment or the goal term is removed. Figures and tables go to
OUTPUT/diagnose/TASK-MODEL and to MLflow. The rule behind each verdict is in claims.csv and in docs/diagnose.md.

examples
  grasp diagnose                                        the wall and its own model, under 5 minutes
  grasp diagnose task=push_t horizons=[10,20,30,40,50]
  grasp diagnose task=wall world_model=outputs/models/wall problems=32
  grasp diagnose seeds.count=64 ablation.attempts=3     more problems for the ablation, and three attempts each
  grasp diagnose planners.grasp.settings.noise=0.2      GRASP with another setting, with and without its parts
  grasp diagnose backend=ray                            the ablation on Ray actors
"""


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.diagnose.diagnose import diagnose

    return diagnose(arguments.overrides, Console(), arguments.conf)


COMMAND = Command("measure GRASP's claims on a task and world model", HELP, add_overrides, run)
"""The command `grasp diagnose`."""
