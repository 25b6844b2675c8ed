"""`grasp quality`."""

from __future__ import annotations

import argparse
from pathlib import Path

from sweeps.console.command import Command, add_conf

HELP = """\
Runs the study behind docs/planning-quality.md. Every planner is tuned with the same number of trials and then tested on
held-out problems: with its own budget, within GRASP's seconds, and replanned during execution; GRASP also with pieces removed
and with other settings. Then results.parquet, the figures and the page are written. An estimate of the work is printed first.

examples
  grasp quality --dry-run                                  stages, missing cells, and how long they take
  grasp quality                                            everything, at most 8 hours on 2 cores; run it again to resume
  grasp quality planning_quality=quick output=/tmp/quick   every stage in under 4 minutes, to see that it works
  grasp quality --from docs/planning-quality/results.parquet      page and figures again, without ledger or planning
  grasp quality --conf my_conf planning_quality=mine       my_conf/planning_quality/mine.yaml, a study of your own

sweeps/conf/planning_quality defines the study. Its sweeps and cells are ordinary ones: grasp report quality_own_push_t_H50.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp quality`."""
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration")
    add_conf(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would run and how long it would take")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="make page and figures from a results file alone"
    )
    parser.add_argument("--quiet", action="store_true", help="show nothing but tables and troubles")


def run(arguments: argparse.Namespace) -> int:
    """Run the study and return its exit code."""
    from rich.console import Console

    from sweeps.console.display import View
    from sweeps.quality.quality import QualityOptions, quality

    view = View.QUIET if arguments.quiet else View.LIVE
    options = QualityOptions(arguments.dry_run, arguments.source, view)
    return quality(arguments.overrides, Console(), arguments.conf, options)


COMMAND = Command("tune all planners alike, test them, write the page", HELP, configure, run)
"""The command `grasp quality`."""
