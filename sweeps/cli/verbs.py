"""The verbs of the command line: their options, and what they call. Heavy libraries are imported where they are needed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.cli import cli_models, cli_quality
from sweeps.cli.help_texts import (
    COMPARE_HELP,
    DIAGNOSE_HELP,
    EXPORT_HELP,
    IMPORT_HELP,
    MODELS_HELP,
    PLAN_HELP,
    QUALITY_HELP,
    REPORT_HELP,
    RERUN_HELP,
    STATUS_HELP,
    SWEEP_HELP,
    SYNC_HELP,
    TRAIN_HELP,
    TUNE_HELP,
    UI_HELP,
)
from world_models.errors import UserError


@dataclass(frozen=True)
class Verb:
    """One verb: a line for the overview, its long help, its options, and what it does."""

    summary: str
    help_text: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def _overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration")
    parser.add_argument("--conf", type=Path, metavar="FOLDER", help="your own configs, laid out like sweeps/conf")


def _configure_sweep(parser: argparse.ArgumentParser) -> None:
    _overrides(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would run and how long it would take")
    parser.add_argument("--retry-failed", action="store_true", help="plan cells again that failed before")
    parser.add_argument("--join", action="store_true", help="where a driver runs already, have it plan this sweep as well")
    _views(parser)


def _sweep(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.commands.sweep import SweepOptions, sweep
    from sweeps.console.display import View

    view = View.QUIET if arguments.quiet else View.JSON if arguments.json else View.LIVE
    options = SweepOptions(arguments.dry_run, arguments.retry_failed, arguments.join, view)
    return sweep(arguments.overrides, Console(stderr=view is View.JSON), arguments.conf, options)


def _configure_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="SWEEP", help="name of a sweep (default: the latest); output=FOLDER")
    parser.add_argument("--watch", action="store_true", help="again every second, until its driver ends")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def _configure_tune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="key=value | apply STUDY", help="changes to the configuration; or: apply a study's winner"
    )
    parser.add_argument("--conf", type=Path, metavar="FOLDER", help="your own configs, laid out like sweeps/conf")
    parser.add_argument("--name", help="apply: name of the planner's config (default: the study's)")
    parser.add_argument("--trial", type=int, help="apply: another trial than the winner")
    _views(parser)


def _views(parser: argparse.ArgumentParser) -> None:
    views = parser.add_mutually_exclusive_group()
    views.add_argument("--quiet", action="store_true", help="show nothing but tables and troubles")
    views.add_argument("--json", action="store_true", help="progress as one JSON object a line; words go to standard error")


def _tune(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.console.display import View

    view = View.QUIET if arguments.quiet else View.JSON if arguments.json else View.LIVE
    console = Console(stderr=view is View.JSON)
    if arguments.words[:1] == ["apply"]:
        from sweeps.config.outputs import outputs_of
        from sweeps.tuning.apply import apply

        study = _one_name("tune apply", arguments.words[1:])
        return apply(study, outputs_of(arguments.words[1:]), arguments.conf, arguments.name, arguments.trial, console)
    for option in ("name", "trial"):
        if getattr(arguments, option) is not None:
            raise UserError(f"--{option} belongs to grasp tune apply STUDY; a study's name is given as name=NAME.")
    from sweeps.tuning.tune import tune

    return tune(arguments.words, console, arguments.conf, view)


def _status(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.config.outputs import outputs_of
    from sweeps.running.status_view import status

    name = _one_name("status", arguments.words)
    return status(name, outputs_of(arguments.words), Console(), arguments.watch, arguments.json)


def _one_name(verb: str, words: Sequence[str]) -> str | None:
    """The one word that is no `key=value`; UserError for more."""
    names = [word for word in words if "=" not in word]
    if len(names) > 1:
        raise UserError(f"grasp {verb} takes one sweep, not {len(names)}: give {names[0]} or {names[1]}.")
    return names[0] if names else None


def _plan(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.commands.plan import plan

    return plan(arguments.overrides, Console(), arguments.conf)


def _diagnose(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.diagnose.diagnose import diagnose

    return diagnose(arguments.overrides, Console(), arguments.conf)


def _configure_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="SWEEP", help="name of a sweep (default: the latest); output=FOLDER")


def _report(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.commands.report import report
    from sweeps.config.outputs import outputs_of

    return report(_one_name("report", arguments.words), outputs_of(arguments.words), Console())


def _configure_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="SWEEP", help="two sweeps, NAME or NAME@FOLDER; output=FOLDER")


def _compare(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.commands.compare import compare
    from sweeps.config.outputs import outputs_of

    names = [word for word in arguments.words if "=" not in word]
    if len(names) != 2:
        raise UserError(f"grasp compare takes two sweeps, not {len(names)}: give NAME NAME, or NAME NAME@FOLDER.")
    return compare(names[0], names[1], outputs_of(arguments.words), Console())


def _configure_rerun(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="CELL_ID", help="a cell's id, or how it begins; output=FOLDER")


def _rerun(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.commands.rerun import rerun
    from sweeps.config.outputs import outputs_of

    names = [word for word in arguments.words if "=" not in word]
    if len(names) > 1:
        raise UserError(f"grasp rerun takes one cell, not {len(names)}: give {names[0]} or {names[1]}.")
    return rerun(names[0] if names else None, outputs_of(arguments.words), Console())


def _configure_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="SWEEP", help="name of a sweep (default: the latest); output=FOLDER")
    parser.add_argument("--to", type=Path, metavar="FILE", help="the archive (default: SWEEP.grasp.zip here)")


def _export(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.commands.archive import export
    from sweeps.config.outputs import outputs_of

    return export(_one_name("export", arguments.words), outputs_of(arguments.words), arguments.to, Console())


def _configure_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="what grasp export has written")
    parser.add_argument("words", nargs="*", metavar="output=FOLDER", help="where it goes (default: outputs)")
    parser.add_argument("--name", help="another name for the sweep")


def _import(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.commands.archive import import_archive
    from sweeps.config.outputs import outputs_of

    stray = [word for word in arguments.words if "=" not in word]
    if stray:
        raise UserError(f"grasp import takes one file, and {stray[0]!r} is a second: import them one after the other.")
    return import_archive(arguments.file, outputs_of(arguments.words), arguments.name, Console())


def _configure_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL|all", help="a file of conf/world_model, or all of them")
    _overrides(parser)


def _train(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.commands.train import train_models

    return train_models(arguments.model, arguments.overrides, Console(), arguments.conf)


def _configure_sync(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="SWEEP", help="name of a sweep (default: all that waits); output=FOLDER, tracking.uri=URI"
    )


def _sync(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.commands.sync import sync

    names = [word for word in arguments.words if "=" not in word]
    if len(names) > 1:
        raise UserError(f"grasp sync takes one sweep, not {len(names)}: give {names[0]} or {names[1]}, or none for all.")
    return sync(names[0] if names else None, [word for word in arguments.words if "=" in word], Console())


def _configure_ui(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (default 5000)")
    parser.add_argument("--optuna", action="store_true", help="optuna-dashboard over the studies instead")
    parser.add_argument(
        "words", nargs="*", metavar="output=FOLDER", help="the sweeps' folder (default: outputs); tracking.uri=URI"
    )


def _ui(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.commands.ui import show, show_studies

    stray = [word for word in arguments.words if "=" not in word]
    if stray:
        raise UserError(f"grasp ui does not take {stray[0]!r}: it shows every sweep of output=FOLDER.")
    return (show_studies if arguments.optuna else show)(arguments.words, arguments.port, Console())


VERBS = {
    "sweep": Verb("plan a grid of cells and print a table of success rates", SWEEP_HELP, _configure_sweep, _sweep),
    "status": Verb("show what a running sweep is doing", STATUS_HELP, _configure_status, _status),
    "tune": Verb("search a planner's settings, and judge the best on fresh problems", TUNE_HELP, _configure_tune, _tune),
    "plan": Verb("plan one cell and save what it looks like", PLAN_HELP, _overrides, _plan),
    "diagnose": Verb("measure what GRASP's claims come to on a task and model", DIAGNOSE_HELP, _overrides, _diagnose),
    "report": Verb("print a sweep's table again, and write its files", REPORT_HELP, _configure_report, _report),
    "compare": Verb("say where two sweeps differ, on the seeds both have", COMPARE_HELP, _configure_compare, _compare),
    "rerun": Verb("plan a recorded cell again, and say whether it agrees", RERUN_HELP, _configure_rerun, _rerun),
    "export": Verb("write a sweep to one file: grid, config, cells, environment", EXPORT_HELP, _configure_export, _export),
    "import": Verb("read an exported sweep", IMPORT_HELP, _configure_import, _import),
    "quality": Verb("tune all planners alike, test them, write the page", QUALITY_HELP, cli_quality.configure, cli_quality.run),
    "train": Verb("train world models", TRAIN_HELP, _configure_train, _train),
    "models": Verb(
        "list world models with their errors; inspect and import checkpoints", MODELS_HELP, cli_models.configure, cli_models.run
    ),
    "sync": Verb("tell MLflow what it has not been told yet", SYNC_HELP, _configure_sync, _sync),
    "ui": Verb("review sweeps in MLflow's UI", UI_HELP, _configure_ui, _ui),
}
"""Verbs by name, in the order of the overview."""
