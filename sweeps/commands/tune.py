"""`grasp tune`."""

from __future__ import annotations

import argparse

from sweeps.console.command import Command, add_conf, add_views, one_name
from world_models.errors import UserError

HELP = """\
A study suggests settings for one planner (trials), plans each on the same problems, stops trials that are clearly worse than
the best, and compares the best few with the planner's own settings on problems that no trial has seen.

examples
  grasp tune task=push_t horizons=50                     60 trials of GRASP's settings on Push-T
  grasp tune task=push_t horizons=50 trials=120          the same study continues to 120
  grasp tune study=joint                                 one set of settings for four tasks, judged by the lowest score
  grasp tune planner=cem constraints.seconds=1           CEM, at most one second per plan
  grasp tune study=pareto                                success against time: a Pareto front, nothing pruned
  grasp tune space.noise.high=4 '~space.init_noise'      another search space; the default: sweeps/conf/space/grasp.yaml
  grasp tune planners.grasp.settings.iterations=200      fixes a setting instead of tuning it
  grasp tune sampler.name=gp                             or random, cmaes, nsga2, nsga3; pruning.enabled=false
  grasp tune warm_start=push_t-H50-grasp horizons=100    begins with another study's best three
  grasp tune optuna.storage=postgresql://me@db/optuna    several drivers, each with its own output=, share a study
  grasp tune apply push_t-H50-grasp --name mine          the winner as conf/tuned/mine, for grasp sweep --conf conf planner=mine
  grasp ui --optuna                                      optuna-dashboard over all studies

Ctrl-C (or kill -9) loses nothing that has finished: the same command continues the study. See docs/tuning.md.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp tune`."""
    parser.add_argument(
        "words", nargs="*", metavar="key=value | apply STUDY", help="changes to the configuration; or: apply a study's winner"
    )
    add_conf(parser)
    parser.add_argument("--name", help="apply: name of the planner's config (default: the study's)")
    parser.add_argument("--trial", type=int, help="apply: a trial other than the winner")
    add_views(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.console.display import View

    view = View.QUIET if arguments.quiet else View.JSON if arguments.json else View.LIVE
    console = Console(stderr=view is View.JSON)
    if arguments.words[:1] == ["apply"]:
        from sweeps.config.outputs import outputs_of
        from sweeps.tuning.apply import apply

        study = one_name("tune apply", arguments.words[1:])
        return apply(study, outputs_of(arguments.words[1:]), arguments.conf, arguments.name, arguments.trial, console)
    for option in ("name", "trial"):
        if getattr(arguments, option) is not None:
            raise UserError(f"--{option} belongs to grasp tune apply STUDY; a study's name is given as name=NAME.")
    from sweeps.tuning.tune import tune

    return tune(arguments.words, console, arguments.conf, view)


COMMAND = Command("search for a planner's settings, and test the best on fresh problems", HELP, configure, run)
"""The command `grasp tune`."""
