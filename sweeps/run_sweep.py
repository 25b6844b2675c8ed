"""`grasp sweep` and `grasp report`: plan what is missing, then show what came out."""

from __future__ import annotations

import logging
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from orchestrator.batching import make_batches
from orchestrator.cells import Cell, digest
from orchestrator.evaluate import BatchResult
from orchestrator.ledger import Ledger
from orchestrator.run import RunSummary, run_cells
from orchestrator.tracking import BackgroundTracker, SweepInfo, Tracker, TrackingError
from sweeps import estimate, terminal
from sweeps.estimate import Timings, duration
from sweeps.grid import Grid
from sweeps.outputs import Outputs
from sweeps.progress import SweepProgress
from sweeps.report import COLUMNS, Row, headline, render_table, summarise, to_csv, to_text
from sweeps.terminal import say
from sweeps.verbs import Job, make_backend, read_job, whole_number
from world_models.errors import UserError


def sweep(
    overrides: Sequence[str], console: Console, conf: Path | None = None, dry_run: bool = False, retry_failed: bool = False
) -> int:
    """Run what the ledger lacks and print the table; 1 when cells of the sweep have failed, else 0."""
    job = read_job("config", overrides, conf)
    max_rows = whole_number("max_rows", job.values["max_rows"])
    ledger = Ledger(job.outputs.ledger)
    cells = {cell.cell_id: cell for cell in job.grid.cells()}
    done = ledger.finished(cells, include_failed=not retry_failed)
    missing = {cell_id: cell for cell_id, cell in cells.items() if cell_id not in done}
    timings = Timings()
    if missing:
        timings.learn(ledger.table(columns=estimate.COLUMNS))
    if dry_run:
        _say_plan(job, list(missing.values()), max_rows, timings, console)
        return 0
    job.outputs.prepare()
    job.outputs.save(job.grid, job.config_text)
    _log_to(job.outputs.sweep(job.grid.name) / "log.txt")
    if not missing:
        say(console, f"sweep {job.grid.name}: all {len(cells)} cells are in the ledger, nothing to plan")
        rows, _ = show(job.grid, job.outputs, ledger, console)
        _track_again(job, overrides, rows, ledger, cells, console)
        return int(any(row.failed for row in rows))
    tracker = BackgroundTracker(
        _tracker(job.outputs), _info(job, overrides, ""), ledger, list(cells.values()), job.outputs.artifacts
    )
    summary = _plan(job, ledger, missing, cells, max_rows, timings, tracker, retry_failed, console)
    rows, figure = show(job.grid, job.outputs, ledger, console)
    say(
        console,
        f"{summary.computed} cells planned in {duration(summary.seconds)}, {summary.skipped} were there; "
        f"files in {job.outputs.sweep(job.grid.name)}; pictures and runs: grasp ui",
    )
    trouble = tracker.finish(_info(job, overrides, headline(rows)), [figure] if figure else [])
    if trouble:
        say(console, trouble)
    return int(any(row.failed for row in rows))


def _plan(
    job: Job,
    ledger: Ledger,
    missing: dict[str, Cell],
    cells: dict[str, Cell],
    max_rows: int,
    timings: Timings,
    tracker: BackgroundTracker,
    retry_failed: bool,
    console: Console,
) -> RunSummary:
    """Plan the missing cells with a live view."""
    labels = {entry.point.point_id: entry.planner for entry in job.grid.entries}
    say(
        console,
        f"sweep {job.grid.name}: {len(cells)} cells, {len(missing)} to plan on {job.values['backend']['name']}; "
        "Ctrl-C stops, the same command goes on",
    )
    with make_backend(job.values["backend"]) as backend, SweepProgress(console, missing, labels, timings) as view:

        def on_result(result: BatchResult) -> None:
            tracker.on_result(result)
            view.on_result(result)

        tracker.start()
        return run_cells(
            list(cells.values()),
            ledger,
            backend,
            max_rows,
            on_result,
            artifacts=job.outputs.artifacts,
            cost=timings.cost,
            retry_failed=retry_failed,
            config_digest=digest(job.config_text),
        )


def show(grid: Grid, outputs: Outputs, ledger: Ledger, console: Console) -> tuple[list[Row], Path | None]:
    """Print the table and write report.txt, report.csv and success.png beside the sweep's spec."""
    table = ledger.table([cell.cell_id for cell in grid.cells()], columns=[*COLUMNS, "error"])
    rows = summarise(grid, table)
    title = f"sweep {grid.name}"
    terminal.show(console, render_table(rows, title))
    errors = Counter(error for error in table["error"].to_pylist() if error)
    for error, count in errors.most_common(3):
        say(console, f"{count} cells failed with: {error}")
    if errors:
        say(console, "failed cells are planned again only when asked: grasp sweep --retry-failed")
    return rows, _write_report(rows, title, outputs.sweep(grid.name))


def _write_report(rows: Sequence[Row], title: str, folder: Path) -> Path | None:
    """Write what changed; the figure's path, or None when there is nothing to draw."""
    figure, file, numbers = folder / "success.png", folder / "report.csv", to_csv(rows)
    if figure.exists() and file.exists() and file.read_text() == numbers:
        return figure
    from sweeps.figure import success_figure  # matplotlib takes a second, and most reruns change nothing

    try:
        drawn = success_figure(rows, title, figure)
        (folder / "report.txt").write_text(to_text(rows, title))
        file.write_text(numbers)
    except OSError as error:
        raise UserError(f"cannot write the report to {folder} ({error.strerror}): mend that and run `grasp report`.") from error
    return drawn


def report(name: str | None, outputs: Outputs, console: Console) -> int:
    """Show a saved sweep from the ledger; 1 when cells of it have failed, else 0."""
    rows, _ = show(outputs.load(name), outputs, Ledger(outputs.ledger), console)
    missing = sum(row.missing for row in rows)
    if missing:
        say(console, f"{missing} cells are missing: run the sweep again to plan them")
    return int(any(row.failed for row in rows))


def _say_plan(job: Job, missing: list[Cell], max_rows: int, timings: Timings, console: Console) -> None:
    """What a run would do."""
    with make_backend(job.values["backend"]) as backend:
        workers = backend.workers
    batches = make_batches(missing, max_rows, workers, timings.cost) if missing else []
    grid = job.grid
    say(console, f"sweep {grid.name}: {len(grid.entries)} points x {len(grid.seeds)} seeds = {len(grid.cells())} cells")
    say(console, f"  new      {len(missing)} cells in {len(batches)} batches on {workers} workers")
    say(console, f"  time     {_rough_time(missing, workers, timings)}")
    say(console, f"  outputs  {job.outputs.root}")


def _rough_time(missing: list[Cell], workers: int, timings: Timings) -> str:
    seconds, unknown = timings.total(missing)
    if not missing:
        return "nothing to plan"
    if not seconds:
        return f"unknown: the ledger has no timed cell of {', '.join(unknown)} yet"
    rough = f"about {duration(seconds / workers + 10)}, from cells in the ledger"
    return f"{rough}; without {', '.join(unknown)}, never timed" if unknown else rough


def _log_to(file: Path) -> None:
    """Tracebacks of what the sweep survived go to a file; the terminal gets sentences."""
    handler = logging.FileHandler(file, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    logger = logging.getLogger("orchestrator")
    logger.handlers = [handler]


def _tracker(outputs: Outputs) -> Tracker:
    return Tracker(outputs.tracking_uri, outputs.tracking_artifacts, markers=outputs.markers)


def _info(job: Job, overrides: Sequence[str], description: str) -> SweepInfo:
    return SweepInfo(job.grid.name, job.config_text, shlex.join(["grasp", "sweep", *overrides]), description)


def _track_again(
    job: Job, overrides: Sequence[str], rows: list[Row], ledger: Ledger, cells: dict[str, Cell], console: Console
) -> None:
    """Write to MLflow what an earlier run could not; returns at once when nothing is lacking."""
    figure = job.outputs.sweep(job.grid.name) / "success.png"
    table = ledger.table(list(cells))
    figures = [figure] if figure.exists() else []
    try:
        _tracker(job.outputs).sync(_info(job, overrides, headline(rows)), table, job.outputs.artifacts, figures)
    except TrackingError as error:
        say(console, str(error))
