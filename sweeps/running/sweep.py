"""`grasp sweep`: plan the missing cells, then show the results."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from orchestrator.artifacts.artifact_store import ArtifactStore
from orchestrator.core.messages import mask_words
from orchestrator.core.portion import Portion, count, merged
from orchestrator.core.secrets import Secrets
from orchestrator.driver.run_cells import RunSummary
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.locks import HeldError
from orchestrator.storage.opening import open_storage
from sweeps.config.axes import seeds_text
from sweeps.config.grid import missing_of
from sweeps.config.jobs import SweepJob, read_jobs
from sweeps.console.display import View
from sweeps.console.signals import INTERRUPTED
from sweeps.console.terminal import duration, say
from sweeps.reports.show import show
from sweeps.reports.tables import headline
from sweeps.running.driver import Driver
from sweeps.running.dry_run import say_plan
from sweeps.running.second_driver import SecondDriver
from sweeps.running.tracking import SweepTracking
from world_models.errors import require


@dataclass(frozen=True)
class SweepOptions:
    """The options of `grasp sweep`."""

    dry_run: bool = False
    retry_failed: bool = False
    join: bool = False
    view: View = View.LIVE


def sweep(overrides: Sequence[str], console: Console, conf: Path | None = None, options: SweepOptions | None = None) -> int:
    """Run what the ledger lacks and print the tables; 1 when cells have failed, 130 after Ctrl-C, else 0."""
    command = mask_words(["grasp", "sweep", *overrides])
    return run_sweeps(read_jobs(overrides, conf), overrides, console, options or SweepOptions(), command)


def run_sweeps(
    jobs: Sequence[SweepJob], overrides: Sequence[str], console: Console, options: SweepOptions, resume_command: str
) -> int:
    """The same for sweeps that are composed already; records and words quote `overrides` and `resume_command`."""
    require(
        not (options.join and options.retry_failed),
        "--join and --retry-failed do not go together: wait for the other driver, then plan failed cells again.",
    )
    outputs, ledger = jobs[0].outputs, Ledger(jobs[0].outputs.ledger)
    if not options.dry_run:
        outputs.prepare()
    grids = [job.grid for job in jobs]
    portions = merged(portion for grid in grids for portion in grid.portions())
    missing = missing_of(grids, ledger, options.retry_failed)
    if options.dry_run:
        say_plan(jobs, portions, missing, ledger, console)
        return 0
    second_driver = SecondDriver(jobs, ledger, console, options.view)
    second_driver.check_names()
    if missing and not options.join:
        second_driver.refuse()
    trackers = [SweepTracking(job, overrides, ledger, partial(say, console)) for job in jobs]
    for tracker in trackers:
        tracker.check()
    for job in jobs:
        changed = outputs.save(job.grid, job.config_text)
        if changed:
            say(console, changed)
    given = [*overrides, *(uri for job in jobs for uri in (job.config.tracking.uri, job.config.storage) if uri)]
    _log_to(outputs.sweep(grids[0].name) / "log.txt", Secrets.of(given, os.environ))
    undrawn = not missing and _undrawn(jobs[0], portions, ledger)
    while missing or undrawn:
        missing = second_driver.join(missing) if options.join and missing else missing
        driver = Driver(
            jobs, ledger, console, options.view, options.retry_failed, trackers=trackers, resume_command=resume_command
        )
        try:
            if missing or undrawn:
                return _close(driver, _plan(driver, portions, missing), console)
        except HeldError:
            if not options.join and missing:
                raise
            missing = missing_of(grids, ledger, retry_failed=False)  # another driver was quicker: join that one
            undrawn = False  # the other driver draws
    names = ", ".join(grid.name for grid in grids)
    say(console, f"sweep {names}: all {count(portions)} cells are in the ledger, nothing to plan")
    return max(_report_again(job, tracker, ledger, console) for job, tracker in zip(jobs, trackers, strict=True))


def _undrawn(job: SweepJob, portions: Sequence[Portion], ledger: Ledger) -> bool:
    """Whether pictures are missing, because a run was killed or did not select them."""
    artifact_store = ArtifactStore(open_storage(job.outputs.artifacts))
    return next(artifact_store.lacking(portions, ledger, job.config.artifacts.selection), None) is not None


def _plan(driver: Driver, portions: Sequence[Portion], missing: Sequence[Portion]) -> RunSummary:
    names = " and ".join(f"sweep {job.grid.name} ({seeds_text(job.grid.seeds)})" for job in driver.jobs)
    backend = driver.jobs[0].config.backend.name
    if driver.view is View.LIVE:
        say(
            driver.console,
            f"{names}: {count(portions)} cells, {count(missing)} to plan on {backend}; "
            "Ctrl-C stops, the same command goes on; grasp status shows more",
        )
    return driver.run(portions, missing)


def _close(driver: Driver, summary: RunSummary, console: Console) -> int:
    """Show, write and track the results; returns the exit code."""
    failed = 0
    for job, tracker in zip(driver.jobs, driver.trackers, strict=True):
        shown = show(job.grid, job.outputs, driver.ledger, console)
        failed |= any(row.failed for row in shown.rows)
        tracker.finish(headline(shown.rows), shown.files)
    say(
        console,
        f"{summary.computed} cells planned{f' and {summary.drawn} drawn' if summary.drawn else ''} "
        f"in {duration(summary.seconds)}, {summary.skipped} were already there; "
        f"files in {driver.outputs.root / 'sweeps'}; pictures and runs: grasp ui",
    )
    if summary.left:
        say(console, f"stopped with {summary.left} cells to go; go on with: {driver.resume_command}")
        return INTERRUPTED
    return int(failed)


def _report_again(job: SweepJob, tracker: SweepTracking, ledger: Ledger, console: Console) -> int:
    """Show the recorded results, and send MLflow what an earlier run could not."""
    shown = show(job.grid, job.outputs, ledger, console)
    tracker.catch_up(headline(shown.rows), shown.files)
    return int(any(row.failed for row in shown.rows))


class _MaskingFormatter(logging.Formatter):
    """Formats records, with their tracebacks, without secrets."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__("%(asctime)s %(name)s: %(message)s")
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return self._secrets.scrub(super().format(record))


def _log_to(file: Path, secrets: Secrets) -> None:
    """Log tracebacks of errors that the sweep survived to a file; the terminal shows sentences."""
    handler = logging.FileHandler(file, delay=True)
    handler.setFormatter(_MaskingFormatter(secrets))
    logger = logging.getLogger("orchestrator")
    logger.handlers = [handler]
