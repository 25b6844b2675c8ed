"""`grasp reproduce`: a checkpoint is imported, planned under a published protocol, and set beside the published figures."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from orchestrator.ledger.ledger import Ledger
from sweeps.analysis.intervals import Rate
from sweeps.analysis.point_cells import records_of
from sweeps.analysis.rows import summarise
from sweeps.analysis.summary import COLUMNS
from sweeps.config.compose import compose
from sweeps.config.jobs import Job, read_job
from sweeps.config.outputs import Outputs, outputs_of
from sweeps.config.overrides import override_text
from sweeps.config.schema.configs import SweepConfig
from sweeps.console.resuming import resume_command
from sweeps.console.terminal import say, show
from sweeps.models.checkpoints import ImportOptions, content_digest, import_model, misfit
from sweeps.reproduce.comparison import Reproduced, render
from sweeps.reproduce.published import FIGURES, Figure, figures_of
from sweeps.running.sweep import SweepOptions, run_sweeps
from world_models.adapters.base import NOTHING, Found, Given
from world_models.adapters.kinds import recognise
from world_models.adapters.origins import is_same_environment
from world_models.errors import UnknownNameError, UserError, require
from world_models.files.names import file_name, inside
from world_models.files.writing import write_file
from world_models.tasks import make_task

OURS = ("grasp", "cem")
"""Planners of ours that plan the same problems beside the published solvers."""
CLEAR_PAIRS = 100
"""Pairs of a manifest of CLEAR-LeWM."""
SHARED = ("tasks.", "goal_cost", "disagreement", "history", "problems.history", "noise_seeds")
"""Beginnings of overrides that change what every planner of an evaluation sees or is told."""
WIDTH = 160
"""Largest width of the table of published figures, in characters."""


@dataclass(frozen=True)
class Request:
    """The options of `grasp reproduce`."""

    protocol: str
    checkpoint: Path
    data: str | None = None
    task: str | None = None
    encoder: Path | None = None
    given: Given = NOTHING
    overrides: tuple[str, ...] = ()
    dry_run: bool = False


def reproduce(request: Request, console: Console) -> int:
    """Run the published evaluation and print own rates beside the published ones; the sweep's exit code.

    Raises UserError where a figure, a file or an option is missing.
    """
    require(
        request.checkpoint.exists(), f"the checkpoint {request.checkpoint} does not exist: give the path of a file or folder."
    )
    found = recognise(request.checkpoint, request.given)
    task = _task(request, found)
    figures = figures_of(request.protocol, found.kind, task)
    outputs = outputs_of([word for word in request.overrides if word.startswith("output=")])
    model = _model(request, found, task, outputs, console)
    words = _words(request, found, task, figures, model)
    job = read_job(SweepConfig, words, None)
    changed = _changed(request, figures)
    _announce(job, figures, changed, console)
    run_sweeps([job], words, console, SweepOptions(dry_run=True), "")
    say(console, "where the time is unknown, seeds=1 plans one problem, after which it is known")
    if request.dry_run:
        return 0
    code = run_sweeps([job], words, console, SweepOptions(), resume_command(["sweep", *words]))
    _conclude(job, figures, changed, console)
    return code


def overview(console: Console) -> int:
    """Print what can be reproduced."""
    for figure in FIGURES:
        kind = figure.kind or "any model"
        words = f"{figure.protocol:15} {kind:10} {figure.task:16} {figure.planner:17}"
        say(console, f"{words} {figure.rate:.2f} of {figure.trials:3}  {figure.source}")
    return 0


def _task(request: Request, found: Found) -> str:
    """The task that is asked for, else the one with a figure whose environment is the checkpoint's."""
    protocols = dict.fromkeys(figure.protocol for figure in FIGURES)
    if request.protocol not in protocols:
        raise UnknownNameError("protocol with published figures", request.protocol, protocols)
    theirs = [each for each in FIGURES if each.protocol == request.protocol and each.kind == found.kind]
    kinds = sorted({each.kind for each in FIGURES if each.protocol == request.protocol and each.kind})
    require(
        bool(theirs),
        f"{found.path} is a checkpoint of the kind {found.kind}, and the published figures of {request.protocol} are of "
        f"{', '.join(kinds)}: plan it with grasp sweep protocol={request.protocol} instead.",
    )
    tasks = list(dict.fromkeys(each.task for each in theirs))
    trained = found.sizes.get("environment")
    if request.task is None and trained is not None:
        fitting = [each for each in tasks if is_same_environment(str(trained), each)]
        require(
            bool(fitting),
            f"{found.path} was trained on {trained}, and the published figures of {request.protocol} are of "
            f"{', '.join(tasks)}: give another checkpoint.",
        )
        return fitting[0]
    if request.task is None and len(tasks) > 1:
        raise UserError(f"{found.path} does not say which environment it is of: give --task {' or --task '.join(tasks)}.")
    task = request.task or tasks[0]
    require(task in tasks, f"the published figures of {request.protocol} are of {', '.join(tasks)}, not of {task}: give one.")
    return task


def _model(request: Request, found: Found, task: str, outputs: Outputs, console: Console) -> Path:
    """The folder of the checkpoint in our form, imported unless it was before."""
    told = hashlib.sha256(f"{content_digest(found)} {request.encoder} {request.given}".encode()).hexdigest()
    name = f"{found.kind}-{task}-{told[:8]}"
    folder = inside(outputs.models, file_name("model", name))
    if folder.exists():
        say(console, f"the checkpoint was imported before, into {folder}")
        return folder
    trained = request.given if "environment" in found.sizes else replace(request.given, environment=task)
    options = ImportOptions(name=name, task=task, encoder=request.encoder, given=trained)
    import_model(console, request.checkpoint, options, [f"output={outputs.root}"])
    return folder


def _words(request: Request, found: Found, task: str, figures: Sequence[Figure], model: Path) -> list[str]:
    """The overrides of the sweep; the user's own come last, and win."""
    protocol = compose(SweepConfig, [f"protocol={request.protocol}"]).config.protocols[request.protocol]
    solvers = dict.fromkeys(figure.planner for figure in figures if figure.kind)
    _, block = misfit(found, make_task(task))
    data = [] if request.data is None else [f"problems.data={override_text(request.data)}"]
    return [
        f"task=[{task}]",
        f"planner=[{','.join([*solvers, *OURS])}]",
        f"protocol={request.protocol}",
        f"world_models=[{override_text(str(model))}]",
        f"tasks.{task}.settings.action_block={block}",
        f"seeds={protocol.draw.rows or CLEAR_PAIRS}",
        f"name=reproduce-{request.protocol}-{task}",
        *data,
        *request.overrides,
    ]


def _changed(request: Request, figures: Sequence[Figure]) -> str:
    """A sentence on what the user's overrides change of the published evaluation; empty if nothing."""
    ours = (f"protocols.{request.protocol}.", *(f"planners.{figure.planner}." for figure in figures))
    changes = [word for word in request.overrides if word.lstrip("+~").startswith((*ours, *SHARED))]
    return f"not as published: {', '.join(changes)}" if changes else ""


def _announce(job: Job[SweepConfig], figures: Sequence[Figure], changed: str, console: Console) -> None:
    """Say what will be compared, and how wide its interval will be."""
    count = len(job.grid.seeds)
    points = 98 / count**0.5  # 1.96 standard errors of a rate of one half, in percentage points
    for figure in figures:
        low, high = figure.interval
        say(
            console,
            f"published: {figure.rate:.2f} [{low:.2f}, {high:.2f}] of {figure.trials} by {figure.planner} ({figure.source}); "
            f"{count} problems here are worth {points:.0f} points either way at most",
        )
    if changed:
        say(console, changed)


def _conclude(job: Job[SweepConfig], figures: Sequence[Figure], changed: str, console: Console) -> None:
    """Print the published figures beside those of the ledger, and keep the table in the sweep's folder."""
    ledger = Ledger(job.outputs.of_sweep(job.grid.name).ledger)
    # A row's first word is its planner's label, the protocol follows.
    own = {row.planner.split(" ")[0]: row.success for row in summarise(job.grid, records_of(job.grid, ledger, COLUMNS))}
    compared = [Reproduced(figure, own.get(figure.planner, Rate(0, 0))) for figure in figures]
    table = render(compared, f"{job.grid.name}: published and own{f' ({changed})' if changed else ''}")
    show(console, table, WIDTH)
    text = io.StringIO()
    Console(file=text, width=WIDTH).print(table)
    write_file(inside(job.outputs.sweep(job.grid.name), "published.txt"), text.getvalue())
