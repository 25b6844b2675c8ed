"""`grasp sync`: tell MLflow by hand what it has not been told yet."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from orchestrator.core.messages import mask_uri
from orchestrator.ledger.ledger import Ledger
from orchestrator.tracking.destination import Destination
from orchestrator.tracking.mlflow_store import TrackingError
from orchestrator.tracking.outbox import SweepRecord
from orchestrator.tracking.relay import Courier
from orchestrator.tracking.run_content import OVERVIEW_COLUMNS
from orchestrator.tracking.sweep_info import Extent
from sweeps.analysis.rows import COLUMNS, summarise
from sweeps.config.compose import compose
from sweeps.config.outputs import Outputs
from sweeps.console.terminal import say
from sweeps.reports.files import report_files
from sweeps.reports.tables import headline
from sweeps.running.tracking import Telling, courier_to, destination_of, is_tracked, known_destinations, remember, saved_telling
from world_models.errors import UserError, require


def sync(name: str | None, words: Sequence[str], console: Console) -> int:
    """Write a sweep, or all that waits in the output folder; UserError when something could not be written.

    `words` are key=value: `output`, and `tracking.uri` where credentials are in the address, or for another store.
    """
    values = compose("config", words).values
    outputs = Outputs.of(values)
    given = destination_of(values["tracking"], outputs)
    if given is None:
        raise UserError("tracking.enabled=false leaves nothing to write: drop it.")
    explicit = any(word.startswith("tracking.") for word in words)
    ledger = Ledger(outputs.ledger)
    todo = _todo(name, outputs, ledger, given if explicit else None)
    if not todo:
        say(console, f"nothing waits in {outputs.root}: MLflow has everything that the ledger has")
        return 0
    for destination, tellings in todo.items():
        _deliver(courier_to(destination, outputs, ledger), tellings, outputs, ledger, console)
    return 0


def _todo(name: str | None, outputs: Outputs, ledger: Ledger, given: Destination | None) -> dict[Destination, list[Telling]]:
    """Sweeps to be told, by where; a destination without sweeps has records of its own."""
    todo: dict[Destination, list[Telling]] = {}
    known = [given] if given else known_destinations(outputs)
    for destination in known:
        if courier_to(destination, outputs, ledger).outbox.names():
            todo[destination] = []
    if name is None:
        require(bool(outputs.names()), f"no sweep has been run in {str(outputs.root)!r} yet: name the folder with output=.")
    for sweep in outputs.names() if name is None else [name]:
        telling, saved = saved_telling(sweep, outputs)
        destination = given or saved
        if destination is None and name is not None:
            raise UserError(f"sweep {name!r} was run with tracking.enabled=false: give tracking.enabled=true to write it now.")
        if destination is None:
            continue
        if name is not None or not is_tracked(courier_to(destination, outputs, ledger).tracker, telling, ledger):
            todo.setdefault(destination, []).append(telling)
    return todo


def _deliver(courier: Courier, tellings: Sequence[Telling], outputs: Outputs, ledger: Ledger, console: Console) -> None:
    """Work a destination's outbox off, with the ends of some sweeps behind what waits."""
    outbox, tracker, where = courier.outbox, courier.tracker, courier.tracker.destination
    if trouble := where.check():
        raise UserError(f"{trouble}; {outbox.waiting()} records wait: run `grasp sync` again when it can.")
    remember(where, outputs)
    with outbox.alone() as mine:
        require(mine, f"a running sweep ({outbox.worker()}) is writing to MLflow at {where.shown}: it writes what waits.")
        waiting = {record.sweep for name in outbox.names() if isinstance(record := outbox.read(name), SweepRecord)}
        for telling in tellings:
            if telling.grid.name not in waiting:
                outbox.add(_end_of(telling, outputs, ledger))
        say(console, f"writing to MLflow at {where.shown}: {outbox.waiting()} records wait")
        try:
            with console.status("writing to MLflow"):
                while courier.next(lambda record: not record.attended):
                    pass
        except TrackingError as error:
            left = outbox.waiting()
            raise UserError(f"{error}; wrote {tracker.written}, {left} records wait.") from error
    say(console, f"wrote {tracker.written} to MLflow at {mask_uri(where.uri)}")
    for sentence in courier.refused[:3]:
        say(console, sentence)


def _end_of(telling: Telling, outputs: Outputs, ledger: Ledger) -> SweepRecord:
    """The record that says: this is all of a sweep."""
    cells = Extent.of(telling.grid.portions())
    table = ledger.table(points=cells.points, columns=list(dict.fromkeys([*COLUMNS, *OVERVIEW_COLUMNS])))
    files = tuple(str(file.resolve()) for file in report_files(outputs.sweep(telling.grid.name)))
    return SweepRecord(telling.info(headline(summarise(telling.grid, table))), cells, True, files)
