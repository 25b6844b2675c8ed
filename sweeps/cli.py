"""The command line: `grasp VERB [options] [key=value ...]`. Heavy libraries are imported by the verbs that need them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from world_models.errors import UnknownNameError, UserError

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


@dataclass(frozen=True)
class Verb:
    """One verb: a line for the overview, its long help, its options, and what it does."""

    summary: str
    teaches: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    """argparse that raises UserError instead of printing its usage and leaving."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}; see {self.prog} --help.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0, 1 (cells failed), 2 (bad input), 130 (Ctrl-C)."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            sys.stdout.write(_overview())
            return 0
        if words[0] not in VERBS:
            raise UnknownNameError("verb", words[0], VERBS)
        verb = VERBS[words[0]]
        return verb.run(_parser(words[0], verb).parse_intermixed_args(words[1:]))
    except UserError as error:
        sys.stderr.write(f"grasp: {error}\n")
        return 2
    except SystemExit as leaving:  # --help has been printed
        return int(leaving.code or 0)
    except KeyboardInterrupt:
        sys.stderr.write(f"\ngrasp: stopped; everything finished so far is kept, go on with: grasp {' '.join(words)}\n")
        return INTERRUPTED


def _overview() -> str:
    lines = [
        "Plan with learned world models, at scale, and see what came out.",
        "",
        "usage: grasp VERB [options] [key=value ...]",
        "",
    ]
    lines += [f"  {name:8} {verb.summary}" for name, verb in VERBS.items()]
    lines += ["", "grasp VERB --help teaches each with examples. A first sweep: grasp sweep sweep=smoke", ""]
    return "\n".join(lines)


def _parser(name: str, verb: Verb) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"grasp {name}",
        description=verb.summary,
        epilog=verb.teaches,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.configure(parser)
    return parser


def _overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration")
    parser.add_argument("--conf", type=Path, metavar="FOLDER", help="your own configs, laid out like sweeps/conf")


def _configure_sweep(parser: argparse.ArgumentParser) -> None:
    _overrides(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would run and how long it would take")
    parser.add_argument("--retry-failed", action="store_true", help="plan cells again that failed before")


def _sweep(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.run_sweep import sweep

    return sweep(arguments.overrides, Console(), arguments.conf, arguments.dry_run, arguments.retry_failed)


def _plan(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.plan_one import plan

    return plan(arguments.overrides, Console(), arguments.conf)


def _diagnose(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.diagnose import diagnose

    return diagnose(arguments.overrides, Console(), arguments.conf)


def _configure_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="SWEEP", help="name of a sweep (default: the latest); output=FOLDER")


def _report(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.outputs import outputs_of
    from sweeps.run_sweep import report

    names = [word for word in arguments.words if "=" not in word]
    if len(names) > 1:
        raise UserError(f"grasp report takes one sweep, not {len(names)}: give {names[0]} or {names[1]}.")
    return report(names[0] if names else None, outputs_of(arguments.words), Console())


def _configure_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL|all", help="a file of conf/world_model, or all of them")
    _overrides(parser)


def _train(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.models import train_models

    return train_models(arguments.model, arguments.overrides, Console(), arguments.conf)


def _configure_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="inspect PATH | import PATH | MODEL", help="see below; default: list the zoo"
    )
    parser.add_argument("--name", help="import: name of the model, a folder of OUTPUT/models")
    parser.add_argument("--task", help="import: task to plan on; its settings follow as key=value")
    parser.add_argument("--encoder", type=Path, metavar="FILE", help="import: encoder weights that the checkpoint lacks")
    parser.add_argument("--action-mean", type=_numbers, metavar="A,B", help="import: mean of the training data's actions")
    parser.add_argument("--action-std", type=_numbers, metavar="A,B", help="import: their standard deviation")
    parser.add_argument("--readout", action="store_true", help="import: fit a linear readout, for success in the model")


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _models(arguments: argparse.Namespace) -> int:
    from sweeps.model_files import run

    return run(arguments)


def _configure_ui(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (default 5000)")
    parser.add_argument("words", nargs="*", metavar="output=FOLDER", help="the sweeps' folder (default: outputs)")


def _ui(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sweeps.outputs import outputs_of
    from sweeps.ui import serve

    stray = [word for word in arguments.words if "=" not in word]
    if stray:
        raise UserError(f"grasp ui does not take {stray[0]!r}: it shows every sweep of output=FOLDER.")
    return serve(outputs_of(arguments.words), arguments.port, Console())


SWEEP_HELP = """\
A sweep is tasks x world models x planners x horizons x seeds. Every finished cell is kept in OUTPUT/ledger, so a sweep that
is run again plans only what is missing: after Ctrl-C, after a crash, or after adding seeds, horizons or planners.

examples
  grasp sweep                                           the default sweep (conf/sweep/default.yaml)
  grasp sweep --dry-run seeds=64                        how many cells that would be, how many are new, how long it takes
  grasp sweep task=push_t planner=grasp,cem seeds=16    one task, two planners, 16 seeds
  grasp sweep name=long task=wall horizons=[50,100]     under its own name, so that `grasp report long` finds it
  grasp sweep planners.grasp.settings.iterations=200    one setting; it wins over the tuned rules in conf/planner
  grasp sweep mode=open_loop,mpc:10                     plans executed to the end, and replanned every 10 environment steps
  grasp sweep seeds.start=100 backend=inline            other problems, in this process, without Ray
  grasp sweep --conf my_conf sweep=mine                 my_conf/sweep/mine.yaml
"""

PLAN_HELP = """\
Plans one problem in this process, executes the plan in the simulator, prints what happened and saves a picture and a gif to
OUTPUT/plans.

examples
  grasp plan                                            the wall with GRASP
  grasp plan task=push_t planner=cem horizon=50 seed=3
  grasp plan task=wall world_model=outputs/models/wall planners.grasp.settings.iterations=500
  grasp plan task=push_t mode=mpc:10                    replanned every 10 environment steps
"""

DIAGNOSE_HELP = """\
Measures on one task and world model what GRASP is built on, and says of each claim whether it is shown: how the curvature of
the shooting and of the lifted objective grows with the horizon, gradients by time step, brittle state gradients, and what
success and time become when noise, sync, detachment or goal term are taken away. Figures and tables go to
OUTPUT/diagnose/TASK-MODEL and to MLflow. The rule behind each verdict is in claims.csv and in docs/diagnose.md.

examples
  grasp diagnose                                        the wall and its own model, under 5 minutes
  grasp diagnose task=push_t horizons=[10,20,30,40,50]
  grasp diagnose task=wall world_model=outputs/models/wall problems=32
  grasp diagnose seeds.count=64 ablation.attempts=3     more problems for the ablation, and three attempts each
  grasp diagnose planners.grasp.settings.noise=0.2      GRASP with another setting, and its parts taken away
  grasp diagnose backend=ray                            the ablation on Ray actors
"""

REPORT_HELP = """\
Prints the table of a sweep from the ledger and writes report.txt, report.csv and success.png to OUTPUT/sweeps/SWEEP.

examples
  grasp report                   the latest sweep
  grasp report smoke
  grasp report output=/data/run  another output folder
"""

TRAIN_HELP = """\
Collects data in the simulator, trains, and writes weights and a model card. Stopped and started again, it goes on.

examples
  grasp train wall                                      to outputs/models/wall
  grasp train all out=world_models/zoo                  every model that ships with the package
  grasp train push_t train.trajectories=500 out=/tmp/models
"""

MODELS_HELP = """\
Lists the models that ship, or those that are named. The error is between predicted and true position after n steps of the
data's own actions, without looking at the simulator in between; in brackets its share of the error of predicting that nothing
moves. `inspect` says what a checkpoint file is and which tasks it fits, `import` makes it one of ours; neither runs anything
that a file holds. docs/checkpoints.md tells which kinds are read.

examples
  grasp models
  grasp models outputs/models/wall
  grasp models inspect lewm/weights.pt
  grasp models import lewm/weights.pt --name lewm --task push_t --readout
  grasp models import agent.pt --name mine --task wall action_block=1 speed=1.0
"""

UI_HELP = """\
Starts MLflow's own server on this machine over the store of the output folder, and says where to click.

examples
  grasp ui
  grasp ui --port 5001 output=/data/run
"""

VERBS = {
    "sweep": Verb("plan a grid of cells and print a table of success rates", SWEEP_HELP, _configure_sweep, _sweep),
    "plan": Verb("plan one cell and save what it looks like", PLAN_HELP, _overrides, _plan),
    "diagnose": Verb("measure what GRASP's claims come to on a task and model", DIAGNOSE_HELP, _overrides, _diagnose),
    "report": Verb("print a sweep's table again, and write its files", REPORT_HELP, _configure_report, _report),
    "train": Verb("train world models", TRAIN_HELP, _configure_train, _train),
    "models": Verb(
        "list world models with their errors; inspect and import checkpoints", MODELS_HELP, _configure_models, _models
    ),
    "ui": Verb("review sweeps in MLflow's UI", UI_HELP, _configure_ui, _ui),
}
"""Verbs by name, in the order of the overview."""
