"""`grasp status`: the state of a driver, shown in another terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.core.portion import count
from orchestrator.driver.status import EVERY, Status
from orchestrator.ledger.ledger import Ledger
from orchestrator.scheduling.durations import Estimate
from orchestrator.storage.locks import Holder
from sweeps.config.grid import missing_of
from sweeps.config.outputs import Outputs
from sweeps.console.display import LINE_EVERY
from sweeps.console.events import StatusEvent
from sweeps.console.terminal import duration, emit, roughly, say, show
from world_models.errors import UserError

SILENT_AFTER = 10.0
"""Seconds without news from a driver that holds the ledger after which a line says so."""


@dataclass(frozen=True)
class StatusSnapshot:
    """The state of a sweep at one moment."""

    sweep: str
    driver_status: Status | None
    """The last status that its driver wrote; None if none can be read."""
    holder: Holder | None
    """The driver that is writing to the ledger, or did so last."""
    trouble: str = ""
    """Reason that the status cannot be read; empty otherwise."""

    @property
    def running(self) -> bool:
        """Whether the sweep's own driver is alive."""
        return self.driver_status is not None and self.driver_status.is_from(self.holder)


def status(name: str | None, outputs: Outputs, console: Console, watch: bool = False, as_json: bool = False) -> int:
    """Show one sweep (the latest without a name), repeatedly with `watch` until its driver ends; UserError if unknown."""
    sweep = outputs.load(name).name
    outputs = outputs.of_sweep(sweep)
    others = name is None and not as_json
    follow = watch and not as_json and console.is_terminal
    heartbeat = Heartbeat()
    with Live(console=console, auto_refresh=False) if follow else nullcontext() as live:
        while True:
            snapshot = snapshot_of(sweep, outputs)
            if as_json:
                emit(StatusEvent.of(sweep, snapshot.running, snapshot.driver_status).as_json())
            elif live is not None:
                page = _page(snapshot, outputs, others, heartbeat)
                live.update(Group(*(Text(each) if isinstance(each, str) else each for each in page)), refresh=True)
            else:
                for each in _page(snapshot, outputs, others, heartbeat):
                    say(console, each) if isinstance(each, str) else show(console, each)
            if not watch or not snapshot.running:
                return 0
            time.sleep(EVERY if follow or as_json else LINE_EVERY)


class Heartbeat:
    """Checks that a watched driver keeps writing; uses our clock, because the driver's may differ."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beat = -1
        self._since = clock()

    def silence(self, beat: int) -> float:
        """Seconds since the beat last changed."""
        if beat != self._beat:
            self._beat, self._since = beat, self._clock()
        return self._clock() - self._since


def snapshot_of(sweep: str, outputs: Outputs) -> StatusSnapshot:
    """The current state of a saved sweep."""
    # The holder is read first: a driver that ends in between has then written that it ended.
    holder = Ledger(outputs.ledger).holder()
    try:
        return StatusSnapshot(sweep, Status.read(outputs.sweep(sweep) / "status.json"), holder)
    except UserError as error:
        return StatusSnapshot(sweep, None, holder, str(error))


def _page(snapshot: StatusSnapshot, outputs: Outputs, others: bool, heartbeat: Heartbeat) -> list[str | Table]:
    """Everything about one sweep, and one line for each other sweep of the folder."""
    driver_status = snapshot.driver_status
    if driver_status is None or not (snapshot.running or driver_status.ended):
        page: list[str | Table] = [*_without_driver(snapshot, outputs)]
    else:
        page = [*_lines(driver_status)]
        if snapshot.running and (silence := heartbeat.silence(driver_status.beat)) > SILENT_AFTER:
            page.append(f"no news for {duration(silence)}: the driver is stuck, or this machine sees the folder's files late")
        page += [_workers(driver_status)] if driver_status.workers else []
    return page + [
        _in_short(other, outputs, snapshot.holder) for other in (outputs.names() if others else ()) if other != snapshot.sweep
    ]


def _without_driver(snapshot: StatusSnapshot, outputs: Outputs) -> list[str]:
    """Lines about a sweep whose driver died, or that never had one."""
    grid, driver_status = outputs.load(snapshot.sweep), snapshot.driver_status
    total, left = count(grid.portions()), count(missing_of([grid], Ledger(outputs.ledger)))
    lines = [f"sweep {snapshot.sweep}: {total - left}/{total} cells are in the ledger"]
    if driver_status is not None:
        driver = f"host {driver_status.host}, pid {driver_status.pid}"
        after = duration(driver_status.seconds)
        lines.append(f"its driver ({driver}) is gone without a word, after {after}; it was {driver_status.state}")
        lines += [f"quarantined: {words}" for words in driver_status.quarantined]
    lines += [snapshot.trouble] if snapshot.trouble else []
    if snapshot.holder is not None and snapshot.holder.alive:
        lines.append(f"another driver writes to the ledger now ({snapshot.holder}): with --join it plans this sweep too")
    if left:
        lines.append("the same `grasp sweep` goes on with it; recorded cells are not planned again")
    return lines


def _lines(driver_status: Status) -> list[str]:
    """A driver's status in lines, without its workers."""
    driver = f"{driver_status.state} on {driver_status.host}, pid {driver_status.pid}, for {duration(driver_status.seconds)}"
    lines = [f"sweep {', '.join(driver_status.sweeps)}: {driver}"]
    parts = [
        f"{driver_status.there + driver_status.done}/{driver_status.cells} cells",
        f"{driver_status.there} were there",
        f"{driver_status.rate:.1f}/s",
    ]
    if (
        driver_status.left is not None
        and driver_status.left_low is not None
        and driver_status.left_high is not None
        and driver_status.left
    ):
        parts.append(f"{roughly(Estimate(driver_status.left, driver_status.left_low, driver_status.left_high))} left")
    parts += [f"{driver_status.failed} failed"] if driver_status.failed else []
    parts += [f"{driver_status.in_flight} batches in flight"] if driver_status.in_flight else []
    parts += [f"{driver_status.retries} retried"] if driver_status.retries else []
    lines.append("  ".join(parts))
    if driver_status.successes:
        lines.append(
            "success so far: " + "  ".join(f"{name} {won}/{ran}" for name, (won, ran) in driver_status.successes.items())
        )
    lines += [driver_status.kernel] if driver_status.kernel else []
    lines += [f"quarantined: {words}" for words in driver_status.quarantined]
    return lines + ([driver_status.tracking] if driver_status.tracking else [])


def _workers(driver_status: Status) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("worker", "node", "device", "models", "plans", "for", "cells", "deaths"):
        table.add_column(name, justify="right" if name in ("for", "cells", "deaths") else "left")
    for worker in driver_status.workers:
        plans, models = worker.plans or "idle", ", ".join(Path(model).name for model in worker.models)
        cells, deaths = str(worker.cells), str(worker.deaths)
        table.add_row(worker.name, worker.node, worker.device, models, plans, duration(worker.seconds), cells, deaths)
    return table


def _in_short(name: str, outputs: Outputs, holder: Holder | None) -> str:
    """One line about another sweep of the folder."""
    try:
        driver_status = Status.read(outputs.sweep(name) / "status.json")
    except UserError:
        driver_status = None
    if driver_status is None:
        return f"sweep {name}: no status"
    state = (
        driver_status.state
        if driver_status.ended or driver_status.is_from(holder)
        else f"its driver died {driver_status.state}"
    )
    return f"sweep {name}: {driver_status.there + driver_status.done}/{driver_status.cells} cells, {state}"
