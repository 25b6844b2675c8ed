"""`grasp sweep --dry-run`: a description of what a run would do and how long it would take."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console

from orchestrator.core.cell import Point
from orchestrator.core.messages import mask_uri
from orchestrator.core.portion import Portion, count
from orchestrator.ledger.ledger import Ledger
from orchestrator.scheduling.durations import DurationModel, Estimate, rows_per_batch, spread_over
from orchestrator.scheduling.memory_limits import MemoryLimits
from sweeps.config.axes import seeds_text
from sweeps.config.jobs import SweepJob, backend_words, limits_of, make_backend
from sweeps.console.terminal import roughly, say
from sweeps.running.changed_code import changed_code
from sweeps.running.tracking import tracking_store_of

DEVICES = ("cuda", "cpu")
OVERHEAD = 10.0
"""Seconds that a run takes in addition to planning: starting Ray, printing the table."""


def say_plan(
    jobs: Sequence[SweepJob], portions: Sequence[Portion], missing: Sequence[Portion], ledger: Ledger, console: Console
) -> None:
    """Print what a run of the sweeps would do. Nothing is written, and no local Ray is started."""
    durations = DurationModel()
    if missing:
        durations.learn_from(ledger)
    with make_backend(jobs[0].config.backend) as backend:
        workers = backend.capacity()
    for job in jobs:
        grid = job.grid
        cells = len(grid.entries) * len(grid.seeds)
        say(console, f"sweep {grid.name}: {len(grid.entries)} points x {seeds_text(grid.seeds)} = {cells} cells")
    if len(jobs) > 1:
        say(console, f"  together {count(portions)} cells, each planned once")
    dry_run = DryRun(jobs[0], missing, durations)
    batches = f"about {dry_run.batches} batches of up to {dry_run.largest} rows" if missing else "no batch"
    say(
        console,
        f"  new      {count(missing)} cells in {batches} on {workers} workers, {backend_words(jobs[0].config.backend)}",
    )
    for sentence in changed_code(missing, ledger):
        say(console, f"           {sentence}")
    say(console, f"  memory   {dry_run.memory}")
    say(console, f"  time     {_time(missing, dry_run, durations, workers)}")
    outputs = jobs[0].outputs
    say(
        console,
        f"  outputs  {outputs.root}{f', ledger and pictures in {mask_uri(str(outputs.storage))}' if outputs.storage else ''}",
    )
    for shown in dict.fromkeys(_tracking(job) for job in jobs):
        say(console, f"  tracking {shown}")


def _tracking(job: SweepJob) -> str:
    """A description of where a sweep is tracked."""
    store = tracking_store_of(job.config.tracking, job.outputs)
    return "off" if store is None else f"MLflow at {store.masked_uri}, experiment {store.experiment}"


class DryRun:
    """A rough forecast of the batches that a run would make."""

    def __init__(self, job: SweepJob, missing: Sequence[Portion], durations: DurationModel) -> None:
        """The forecast uses the job's limits and the memory and time measured in earlier runs."""
        self._limits, self._memory_limits, self._durations = (
            limits_of(job.config),
            MemoryLimits(job.outputs.memory_limits),
            durations,
        )
        self.workload = [
            (portion.point, len(portion), rows_per_batch(len(portion), self._max_rows(portion.point))) for portion in missing
        ]
        self.batches = sum(math.ceil(cells / rows) for _, cells, rows in self.workload)
        self.largest = max((rows for *_, rows in self.workload), default=0)

    @property
    def memory(self) -> str:
        """The memory that a batch takes in its worker, in words."""
        known = [each * rows for point, _, rows in self.workload if (each := self._bytes_per_row(point)) is not None]
        if not known:
            return "not measured yet" if self.workload else "none"
        return f"up to {max(known) / 2**20:.0f} MiB per worker, as measured for {len(known)} of {len(self.workload)} points"

    def _bytes_per_row(self, point: Point) -> float | None:
        """Bytes per row, measured on any kind of device: where a run will plan is not known before it begins."""
        return max(filter(None, (self._memory_limits.bytes_per_row(point, device) for device in DEVICES)), default=None)

    def _max_rows(self, point: Point) -> int:
        """Most rows in a batch of a point."""
        most = min(self._memory_limits.limit(point, device, None) or self._limits.max_rows for device in DEVICES)
        most = min(most, self._limits.max_rows)
        if self._durations.timed(point) and not self._limits.even:
            most = min(most, max(1, int(self._limits.target_seconds / self._durations.row_seconds(point, most))))
        return most


def _time(missing: Sequence[Portion], dry_run: DryRun, durations: DurationModel, workers: int) -> str:
    if not missing:
        return "nothing to plan"
    unknown = durations.unknown(missing)
    total: Estimate = durations.total(dry_run.workload)
    if not total.known:
        return f"unknown: the ledger has no timed cell of {', '.join(unknown)} yet"
    rough = f"about {roughly(spread_over(total, workers, OVERHEAD))}, from cells in the ledger"
    return f"{rough}; without {', '.join(unknown)}, which was never timed" if unknown else rough
