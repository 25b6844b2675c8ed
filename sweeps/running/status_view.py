"""`grasp status`: what a driver is doing, seen from another terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
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
from sweeps.console.terminal import duration, emit, roughly, say, show
from world_models.errors import UserError

SILENT_AFTER = 10.0
"""Seconds without news of a driver that holds the ledger after which that is said."""


@dataclass(frozen=True)
class Look:
    """What is known of a sweep at one moment."""

    sweep: str
    said: Status | None
    """What its driver wrote last; None: nothing that can be read."""
    holder: Holder | None
    """The driver that writes to the ledger, or wrote last."""
    trouble: str = ""
    """Why what it wrote cannot be read."""

    @property
    def running(self) -> bool:
        """Whether the sweep's own driver is alive."""
        return self.said is not None and self.said.by(self.holder)


def status(name: str | None, outputs: Outputs, console: Console, watch: bool = False, as_json: bool = False) -> int:
    """Show one sweep (the latest without a name), again and again with `watch` until its driver ends; UserError if unknown."""
    sweep = outputs.load(name).name
    outputs = outputs.of_sweep(sweep)
    others = name is None and not as_json
    follow = watch and not as_json and console.is_terminal
    news = News()
    with Live(console=console, auto_refresh=False) if follow else nullcontext() as live:
        while True:
            look = look_at(sweep, outputs)
            if as_json:
                emit({"sweep": sweep, "running": look.running, **({} if look.said is None else asdict(look.said))})
            elif live is not None:
                page = _page(look, outputs, others, news)
                live.update(Group(*(Text(each) if isinstance(each, str) else each for each in page)), refresh=True)
            else:
                for each in _page(look, outputs, others, news):
                    say(console, each) if isinstance(each, str) else show(console, each)
            if not watch or not look.running:
                return 0
            time.sleep(EVERY if follow or as_json else LINE_EVERY)


class News:
    """Whether a driver that is watched goes on writing; by our clock, for its own may be another."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beat = -1
        self._since = clock()

    def silence(self, beat: int) -> float:
        """Seconds since the beat that was seen last changed."""
        if beat != self._beat:
            self._beat, self._since = beat, self._clock()
        return self._clock() - self._since


def look_at(sweep: str, outputs: Outputs) -> Look:
    """What is known of a saved sweep now."""
    # The holder first: a driver that ends in between has then written that it has.
    holder = Ledger(outputs.ledger).holder()
    try:
        return Look(sweep, Status.read(outputs.sweep(sweep) / "status.json"), holder)
    except UserError as error:
        return Look(sweep, None, holder, str(error))


def _page(look: Look, outputs: Outputs, others: bool, news: News) -> list[str | Table]:
    """Everything about one sweep; of the others of the folder a line each."""
    said = look.said
    if said is None or not (look.running or said.ended):
        page: list[str | Table] = [*_without_driver(look, outputs)]
    else:
        page = [*_lines(said)]
        if look.running and (silence := news.silence(said.beat)) > SILENT_AFTER:
            page.append(f"no news for {duration(silence)}: the driver is stuck, or this machine sees the folder late")
        page += [_workers(said)] if said.workers else []
    return page + [
        _in_short(other, outputs, look.holder) for other in (outputs.names() if others else ()) if other != look.sweep
    ]


def _without_driver(look: Look, outputs: Outputs) -> list[str]:
    """A sweep whose driver died, or that never had one."""
    grid, said = outputs.load(look.sweep), look.said
    total, left = count(grid.portions()), count(missing_of([grid], Ledger(outputs.ledger), retry_failed=False))
    lines = [f"sweep {look.sweep}: {total - left}/{total} cells are in the ledger"]
    if said is not None:
        gone = f"its driver (host {said.host}, pid {said.pid}) is gone without a word, after {duration(said.seconds)}"
        lines.append(f"{gone}; it was {said.state}")
        lines += [f"quarantined: {words}" for words in said.quarantined]
    lines += [look.trouble] if look.trouble else []
    if look.holder is not None and look.holder.alive:
        lines.append(f"another driver writes to the ledger now ({look.holder}): with --join it plans this sweep as well")
    if left:
        lines.append("the same `grasp sweep` goes on with it; what is recorded is not planned again")
    return lines


def _lines(said: Status) -> list[str]:
    """What a driver says, but for its workers."""
    lines = [f"sweep {', '.join(said.sweeps)}: {said.state} on {said.host}, pid {said.pid}, for {duration(said.seconds)}"]
    parts = [f"{said.there + said.done}/{said.cells} cells", f"{said.there} were there", f"{said.rate:.1f}/s"]
    if said.left is not None and said.left_low is not None and said.left_high is not None and said.left:
        parts.append(f"{roughly(Estimate(said.left, said.left_low, said.left_high))} left")
    parts += [f"{said.failed} failed"] if said.failed else []
    parts += [f"{said.in_flight} batches in flight"] if said.in_flight else []
    parts += [f"{said.retries} handed out again"] if said.retries else []
    lines.append("  ".join(parts))
    if said.successes:
        lines.append("success so far: " + "  ".join(f"{name} {won}/{ran}" for name, (won, ran) in said.successes.items()))
    lines += [f"quarantined: {words}" for words in said.quarantined]
    return lines + ([said.tracking] if said.tracking else [])


def _workers(said: Status) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("worker", "node", "device", "models", "plans", "for", "cells", "deaths"):
        table.add_column(name, justify="right" if name in ("for", "cells", "deaths") else "left")
    for worker in said.workers:
        plans, models = worker.plans or "idle", ", ".join(Path(model).name for model in worker.models)
        cells, deaths = str(worker.cells), str(worker.deaths)
        table.add_row(worker.name, worker.node, worker.device, models, plans, duration(worker.seconds), cells, deaths)
    return table


def _in_short(name: str, outputs: Outputs, holder: Holder | None) -> str:
    """Another sweep of the folder, in a line."""
    try:
        said = Status.read(outputs.sweep(name) / "status.json")
    except UserError:
        said = None
    if said is None:
        return f"sweep {name}: no status"
    state = said.state if said.ended or said.by(holder) else f"its driver died {said.state}"
    return f"sweep {name}: {said.there + said.done}/{said.cells} cells, {state}"
