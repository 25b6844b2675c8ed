"""`grasp sweep`: plan the missing cells, then show the results."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from orchestrator.artifacts.artifact_store import ArtifactStore
from orchestrator.core.portion import Portion, count, merged
from orchestrator.core.secrets import Secrets
from orchestrator.driver.run_cells import RunSummary
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.redo import Redo
from orchestrator.storage.locks import HeldError
from orchestrator.storage.opening import open_storage
from sweeps.config.axes import seeds_text
from sweeps.config.grid import missing_of
from sweeps.config.jobs import SweepJob, backend_words, is_here, read_jobs
from sweeps.config.problems import manifest, recorded_parts, repeated_words
from sweeps.console.display import View
from sweeps.console.log_file import log_to
from sweeps.console.resuming import resume_command
from sweeps.console.terminal import duration, say
from sweeps.reports.show import show
from sweeps.reports.tables import headline
from sweeps.running.driver import Driver
from sweeps.running.dry_run import say_plan
from sweeps.running.second_driver import SecondDriver
from sweeps.running.tracking import SweepTracking
from world_models.errors import UserError, require
from world_models.files.names import inside
from world_models.files.writing import write_file
from world_models.native.mlp import kernel_words, mlp_kernel

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepOptions:
    """The options of `grasp sweep`."""

    dry_run: bool = False
    redo: Redo = field(default_factory=Redo)
    join: bool = False
    view: View = View.LIVE

    @property
    def to_resume(self) -> list[str]:
        """Options that a command needs to go on with the same run."""
        given = {"--retry-failed": self.redo.failed, "--join": self.join}
        anew = [] if self.redo.before is None else ["--replan", "--before", self.redo.before.isoformat(timespec="seconds")]
        return [*(option for option, chosen in given.items() if chosen), *anew]


def redo_of(failed: bool, replan: bool, before: str | None) -> Redo:
    """The recorded cells to plan once more: failed ones, and with `replan` those that finished before a time (default: now).

    Raises UserError for a text that is not a time; one without a time zone is in UTC.
    """
    require(replan or before is None, f"--before {before} goes with --replan: add it, or leave --before out.")
    if not replan:
        return Redo(failed)
    try:
        moment = datetime.now(UTC) if before is None else datetime.fromisoformat(before)
    except ValueError as error:
        raise UserError(f"--before {before!r} is not a time: give one such as 2026-11-30T18:00:00.") from error
    return Redo(failed, moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def sweep(overrides: Sequence[str], console: Console, conf: Path | None = None, options: SweepOptions | None = None) -> int:
    """Run what the ledger lacks and print the tables; 1 when cells have failed, 130 or 143 when stopped, else 0."""
    options = options or SweepOptions()
    own = ["--conf", str(conf)] if conf is not None else []
    command = resume_command(["sweep", *options.to_resume, *own, *overrides])
    return run_sweeps(read_jobs(overrides, conf), overrides, console, options, command)


def run_sweeps(
    jobs: Sequence[SweepJob], overrides: Sequence[str], console: Console, options: SweepOptions, goes_on: str
) -> int:
    """The same for sweeps that are composed already; records and words quote `overrides` and the command that `goes_on`."""
    require(
        not options.join or options.redo == Redo(),
        "--join does not go with --retry-failed or --replan: wait for the other driver, then plan cells again.",
    )
    outputs, ledger = jobs[0].outputs, Ledger(jobs[0].outputs.ledger)
    if not options.dry_run:
        outputs.prepare()
    grids = [job.grid for job in jobs]
    portions = merged(portion for grid in grids for portion in grid.portions())
    missing = missing_of(grids, ledger, options.redo)
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
    given = [*overrides, *(text for job in jobs for text in job.addresses)]
    log_to(outputs.sweep(grids[0].name) / "log.txt", Secrets.of(given, os.environ))
    for job in jobs if missing else ():
        for words in _list_recorded(job):
            if options.view is View.LIVE:
                say(console, words)
    undrawn = not missing and _undrawn(jobs[0], portions, ledger)
    while missing or undrawn:
        missing = second_driver.join(missing) if options.join and missing else missing
        driver = Driver(jobs, ledger, console, options.view, options.redo, trackers=trackers, resume_command=goes_on)
        try:
            if missing or undrawn:
                return _close(driver, _plan(driver, portions, missing), console)
        except HeldError:
            if not options.join and missing:
                raise
            missing = missing_of(grids, ledger)  # another driver was quicker: join that one
            undrawn = False  # the other driver draws
    names = ", ".join(grid.name for grid in grids)
    say(console, f"sweep {names}: all {count(portions)} cells are in the ledger, nothing to plan")
    return max(_report_again(job, tracker, ledger, console) for job, tracker in zip(jobs, trackers, strict=True))


def _list_recorded(job: SweepJob) -> Iterator[str]:
    """Write the lists of recorded problems; the results say how well the simulator repeats what was recorded."""
    for part in recorded_parts(job.grid):
        name, text = manifest(part, job.grid.seeds)
        write_file(inside(job.outputs.sweep(job.grid.name), name), text)
        words = repeated_words(part, job.grid.seeds)
        _log.info(words)
        yield words


def _undrawn(job: SweepJob, portions: Sequence[Portion], ledger: Ledger) -> bool:
    """Whether pictures are missing, because a run was killed or did not select them."""
    artifact_store = ArtifactStore(open_storage(job.outputs.artifacts))
    return next(artifact_store.lacking(portions, ledger, job.config.artifacts.selection), None) is not None


def _plan(driver: Driver, portions: Sequence[Portion], missing: Sequence[Portion]) -> RunSummary:
    names = " and ".join(f"sweep {job.grid.name} ({seeds_text(job.grid.seeds)})" for job in driver.jobs)
    backend = backend_words(driver.jobs[0].config.backend)
    if driver.view is View.LIVE:
        say(
            driver.console,
            f"{names}: {count(portions)} cells, {count(missing)} to plan on {backend}; "
            "Ctrl-C stops, the same command goes on; grasp status shows more",
        )
        if isinstance(mlp_kernel(), str) and is_here(driver.jobs[0].config.backend):
            say(driver.console, kernel_words())
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
    if driver.redo.before is not None and summary.failed:
        say(console, f"{summary.failed} cells failed when they were planned anew: where there are earlier results, those stand")
    if summary.left:
        say(console, f"stopped with {summary.left} cells to go; go on with: {driver.resume_command}")
        return driver.stop.code
    return int(failed)


def _report_again(job: SweepJob, tracker: SweepTracking, ledger: Ledger, console: Console) -> int:
    """Show the recorded results, and send MLflow what an earlier run could not."""
    shown = show(job.grid, job.outputs, ledger, console)
    tracker.catch_up(headline(shown.rows), shown.files)
    return int(any(row.failed for row in shown.rows))
