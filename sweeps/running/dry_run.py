"""`grasp sweep --dry-run`: what a run would do, and how long it would take."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console

from orchestrator.core.cell import Point
from orchestrator.core.messages import mask_uri
from orchestrator.core.portion import Portion, count
from orchestrator.ledger.ledger import Ledger
from orchestrator.scheduling.durations import CostModel, Estimate, rows_a_batch, spread_over
from orchestrator.scheduling.memory_limits import Sizes
from sweeps.config.jobs import Job, limits_of, make_backend
from sweeps.console.terminal import roughly, say
from sweeps.running.tracking import destination_of

DEVICES = ("cuda", "cpu")
OVERHEAD = 10.0
"""Seconds that a run takes besides planning: Ray's start, the table."""


def say_plan(
    jobs: Sequence[Job], portions: Sequence[Portion], missing: Sequence[Portion], ledger: Ledger, console: Console
) -> None:
    """What a run of some sweeps would do. Nothing is written, and no local Ray is started."""
    costs = CostModel()
    if missing:
        costs.learn_from(ledger)
    with make_backend(jobs[0].values["backend"]) as backend:
        workers = backend.capacity()
    for job in jobs:
        grid = job.grid
        cells = len(grid.entries) * len(grid.seeds)
        say(console, f"sweep {grid.name}: {len(grid.entries)} points x {len(grid.seeds)} seeds = {cells} cells")
    if len(jobs) > 1:
        say(console, f"  together {count(portions)} cells, each planned once")
    ahead = Ahead(jobs[0], missing, costs)
    sizes = f"about {ahead.batches} batches of up to {ahead.largest} rows" if missing else "no batch"
    say(console, f"  new      {count(missing)} cells in {sizes} on {workers} workers")
    say(console, f"  memory   {ahead.memory}")
    say(console, f"  time     {_time(missing, ahead, costs, workers)}")
    outputs = jobs[0].outputs
    say(
        console,
        f"  outputs  {outputs.root}{f', ledger and pictures in {mask_uri(str(outputs.storage))}' if outputs.storage else ''}",
    )
    for shown in dict.fromkeys(_tracking(job) for job in jobs):
        say(console, f"  tracking {shown}")


def _tracking(job: Job) -> str:
    """Where a sweep is tracked."""
    destination = destination_of(job.values.get("tracking"), job.outputs)
    return "off" if destination is None else f"MLflow at {destination.shown}, experiment {destination.experiment}"


class Ahead:
    """The batches that a run would roughly make."""

    def __init__(self, job: Job, missing: Sequence[Portion], costs: CostModel) -> None:
        """By the job's limits, and by the memory and time that were measured before."""
        self._limits, self._sizes, self._costs = limits_of(job.values), Sizes(job.outputs.sizes), costs
        self.work = [
            (portion.point, len(portion), rows_a_batch(len(portion), self._most(portion.point))) for portion in missing
        ]
        self.batches = sum(math.ceil(cells / rows) for _, cells, rows in self.work)
        self.largest = max((rows for *_, rows in self.work), default=0)

    @property
    def memory(self) -> str:
        """What a batch takes of its worker, in words."""
        known = [each * rows for point, _, rows in self.work if (each := self._bytes_per_row(point)) is not None]
        if not known:
            return "not measured yet" if self.work else "none"
        return f"up to {max(known) / 2**20:.0f} MiB a worker, by what was measured of {len(known)} of {len(self.work)} points"

    def _bytes_per_row(self, point: Point) -> float | None:
        """On whichever kind of device it was measured: where a run will plan is not known before it begins."""
        return max(filter(None, (self._sizes.bytes_per_row(point, device) for device in DEVICES)), default=None)

    def _most(self, point: Point) -> int:
        """Rows of a batch of a point."""
        most = min(self._sizes.limit(point, device, None) or self._limits.max_rows for device in DEVICES)
        most = min(most, self._limits.max_rows)
        if self._costs.timed(point) and not self._limits.even:
            most = min(most, max(1, int(self._limits.target_seconds / self._costs.row_seconds(point, most))))
        return most


def _time(missing: Sequence[Portion], ahead: Ahead, costs: CostModel, workers: int) -> str:
    if not missing:
        return "nothing to plan"
    unknown = costs.unknown(missing)
    total: Estimate = costs.total(ahead.work)
    if not total.known:
        return f"unknown: the ledger has no timed cell of {', '.join(unknown)} yet"
    rough = f"about {roughly(spread_over(total, workers, OVERHEAD))}, from cells in the ledger"
    return f"{rough}; without {', '.join(unknown)}, never timed" if unknown else rough
