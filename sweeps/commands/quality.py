"""`grasp quality`."""

from __future__ import annotations

import argparse
from pathlib import Path

from sweeps.console.command import Command, add_conf

HELP = """\
The study behind docs/planning-quality.md. Every planner is tuned with the same number of trials, then all meet on problems
that nothing was chosen on: with their own budgets, within GRASP's seconds, and replanned on the way; GRASP also with pieces
taken away and with other settings. Then results.parquet, figures and page are written. What would run is said first.

examples
  grasp quality --dry-run                                  stages, cells that are lacking, and how long they take
  grasp quality                                            all of it, at most 8 hours on 2 cores; the same command goes on
  grasp quality planning_quality=quick output=/tmp/quick   every stage in under 4 minutes, to see that it works
  grasp quality --from docs/planning-quality/results.parquet      page and figures again, without ledger or planning
  grasp quality --conf my_conf planning_quality=mine       my_conf/planning_quality/mine.yaml, a study of your own

What is planned: sweeps/conf/planning_quality. Studies, sweeps and cells are ordinary ones: grasp report quality_own_push_t_H50.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp quality`."""
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration")
    add_conf(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would run and how long it would take")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="page and figures from a results file alone")
    parser.add_argument("--quiet", action="store_true", help="show nothing but tables and troubles")


def run(arguments: argparse.Namespace) -> int:
    """Run the study; its exit code."""
    from rich.console import Console

    from sweeps.console.display import View
    from sweeps.quality.quality import QualityOptions, quality

    view = View.QUIET if arguments.quiet else View.LIVE
    options = QualityOptions(arguments.dry_run, arguments.source, view)
    return quality(arguments.overrides, Console(), arguments.conf, options)


COMMAND = Command("tune all planners alike, test them, write the page", HELP, configure, run)
"""What `grasp quality` is."""
