"""The verb `grasp quality`: its options, and what it calls."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration")
    parser.add_argument("--conf", type=Path, metavar="FOLDER", help="your own configs, laid out like sweeps/conf")
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
