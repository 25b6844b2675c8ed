"""`grasp sync`: send MLflow the records that it has not received yet."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from orchestrator.core.messages import mask_uri
from orchestrator.core.process import Life, host
from orchestrator.ledger.ledger import Ledger
from orchestrator.tracking.content.overview import OVERVIEW_COLUMNS
from orchestrator.tracking.content.sweep_info import CellSet
from orchestrator.tracking.failures import TrackingError
from orchestrator.tracking.outbox import SweepRecord
from orchestrator.tracking.relay import OutboxRelay
from orchestrator.tracking.tracking_store import TrackingStore
from sweeps.analysis.rows import COLUMNS, summarise
from sweeps.config.compose import compose
from sweeps.config.outputs import Outputs, check_used
from sweeps.config.schema.configs import SweepConfig
from sweeps.console.terminal import say
from sweeps.reports.files import report_files
from sweeps.reports.tables import headline
from sweeps.running.tracking import (
    SweepDescription,
    is_tracked,
    known_tracking_stores,
    relay_to,
    remember_store,
    saved_description,
    tracking_store_of,
)
from world_models.errors import UserError, require


def sync(name: str | None, words: Sequence[str], console: Console) -> int:
    """Write a sweep, or everything that waits in the output folder; UserError when something could not be written.

    `words` are key=value: `output`, and `tracking.uri` if the address has credentials or for a different store.
    """
    for word in words:
        check_used(word, ("output", "storage", "tracking"))
    config = compose(SweepConfig, words).config
    outputs = Outputs.of(config)
    given = tracking_store_of(config.tracking, outputs)
    if given is None:
        raise UserError("tracking.enabled=false leaves nothing to write: leave it out.")
    explicit = any(word.startswith("tracking.") for word in words)
    ledger = Ledger(outputs.ledger)
    todo = _todo(name, outputs, ledger, given if explicit else None)
    if not todo:
        say(console, f"nothing waits in {outputs.root}: MLflow has everything that the ledger has")
        return 0
    for store, descriptions in todo.items():
        _deliver(relay_to(store, outputs, ledger), descriptions, outputs, ledger, console)
    return 0


def _todo(
    name: str | None, outputs: Outputs, ledger: Ledger, given: TrackingStore | None
) -> dict[TrackingStore, list[SweepDescription]]:
    """The sweeps to write, by tracking store; a store without sweeps only has records waiting in its outbox."""
    todo: dict[TrackingStore, list[SweepDescription]] = {}
    known = [given] if given else known_tracking_stores(outputs)
    for store in known:
        if relay_to(store, outputs, ledger).outbox.names():
            todo[store] = []
    if name is None:
        require(bool(outputs.names()), f"no sweep has been run in {str(outputs.root)!r} yet: name the folder with output=.")
    for sweep in outputs.names() if name is None else [name]:
        description, saved = saved_description(sweep, outputs)
        store = given or saved
        if store is None and name is not None:
            raise UserError(f"sweep {name!r} was run with tracking.enabled=false: give tracking.enabled=true to write it now.")
        if store is None:
            continue
        if name is not None or not is_tracked(relay_to(store, outputs, ledger).tracker, description, ledger):
            todo.setdefault(store, []).append(description)
    return todo


def _deliver(
    relay: OutboxRelay, descriptions: Sequence[SweepDescription], outputs: Outputs, ledger: Ledger, console: Console
) -> None:
    """Deliver a tracking store's outbox, with the final records of the sweeps added at its end."""
    outbox, tracker, store = relay.outbox, relay.tracker, relay.tracker.tracking_store
    if trouble := store.check():
        raise UserError(f"{trouble}; {outbox.waiting()} records wait: run `grasp sync` again once that is solved.")
    remember_store(store, outputs)
    with outbox.exclusive() as mine:
        require(
            mine,
            f"a running sweep ({outbox.lock_holder()}) is writing to MLflow at {store.masked_uri}: it writes these records.",
        )
        waiting = {record.sweep for name in outbox.names() if isinstance(record := outbox.read(name), SweepRecord)}
        for description in descriptions:
            if description.grid.name not in waiting:
                outbox.add(_end_of(description, outputs, ledger))
        say(console, f"writing to MLflow at {store.masked_uri}: {outbox.waiting()} records wait")
        try:
            with console.status("writing to MLflow"):
                while relay.deliver_next(lambda record: not _is_attended(record, ledger)):
                    pass
        except TrackingError as error:
            left = outbox.waiting()
            raise UserError(f"{error}; wrote {tracker.written}, {left} records wait.") from error
    say(console, f"wrote {tracker.written} to MLflow at {mask_uri(store.uri)}")
    for sentence in relay.refused[:3]:
        say(console, sentence)


def _is_attended(record: SweepRecord, ledger: Ledger) -> bool:
    """Whether the driver of a sweep still runs; that of a record without an identity is asked for at the ledger's lock."""
    if record.driver.started or record.driver.life is Life.GONE or record.driver.host != host():
        return record.attended
    holder = ledger.holder()
    return holder is not None and holder.alive and holder.pid == record.driver.pid


def _end_of(description: SweepDescription, outputs: Outputs, ledger: Ledger) -> SweepRecord:
    """The final record of a sweep, with all its cells."""
    cells = CellSet.of(description.grid.portions())
    table = ledger.table(points=cells.points, columns=list(dict.fromkeys([*COLUMNS, *OVERVIEW_COLUMNS])))
    files = tuple(str(file.resolve()) for file in report_files(outputs.sweep(description.grid.name)))
    return SweepRecord(description.info(headline(summarise(description.grid, table))), cells, True, files)
