"""`grasp check`: everything that an output folder holds is read and compared, and what is damaged is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from orchestrator.artifacts.artifact_store import SELECTION_FILE, ArtifactManifest
from orchestrator.core.portion import count
from orchestrator.driver.status import Status
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.seal import DamagedPartError
from orchestrator.scheduling.memory_limits import MemoryLimit
from orchestrator.storage.opening import open_storage
from orchestrator.tracking.outbox import Outbox
from orchestrator.tuning.journal import check_journal
from sweeps.config.grid import missing_of
from sweeps.config.outputs import Outputs
from sweeps.console.terminal import say
from world_models.errors import UserError, require
from world_models.files.reading import SpoiltFileError, read_json

DAMAGED = 1
"""Exit code if something is damaged."""


def check(outputs: Outputs, console: Console, set_aside: bool) -> int:
    """Read everything; 0 if all of it is sound, else 1. With `set_aside`, move damaged parts of ledgers to their quarantine.

    UserError if the folder is not there, or if a driver writes to a ledger whose parts should be moved.
    """
    require(outputs.root.is_dir(), f"there is no folder {str(outputs.root)!r}: name the output folder with output=FOLDER.")
    total, faults = 0, 0
    for ledger in _ledgers(outputs):
        damaged, parts = [], 0
        for name, fault in ledger.verify():
            parts += 1
            if fault is not None:
                say(console, str(fault))
                faults += 1
                damaged += [name] if isinstance(fault, DamagedPartError) else []
        total += parts
        if set_aside and damaged:
            ledger.set_aside(damaged)
            say(console, f"moved {len(damaged)} damaged parts to {ledger.quarantine}")
            _say_missing(outputs, ledger, console)
    for reading in _readings(outputs):
        total += 1
        try:
            reading()
        except FileNotFoundError:  # another process has removed it meanwhile
            continue
        except UserError as error:
            say(console, str(error))
            faults += 1
    say(console, f"checked {total} files in {outputs.root}: " + (f"{faults} are damaged" if faults else "all are sound"))
    return DAMAGED if faults else 0


def _ledgers(outputs: Outputs) -> list[Ledger]:
    """The ledger of the folder, and those that its sweeps were saved with."""
    places = {str(outputs.ledger): outputs.ledger}
    for name in outputs.names():
        try:
            place = outputs.of_sweep(name).ledger
        except UserError:  # it is named with the saved sweeps
            continue
        places.setdefault(str(place), place)
    return [Ledger(place) for place in places.values()]


def _say_missing(outputs: Outputs, ledger: Ledger, console: Console) -> None:
    """Say which sweeps lack cells now."""
    for name in outputs.names():
        try:
            missing = count(missing_of([outputs.load(name)], ledger))
        except UserError:
            continue
        if missing:
            say(console, f"sweep {name} lacks {missing} cells now: run it again to plan them")


def _readings(outputs: Outputs) -> Iterator[Callable[[], object]]:
    """A function per small file that reads it, and raises UserError if it is spoilt."""
    for name in outputs.names():
        yield lambda name=name: outputs.load(name)
        status = outputs.sweep(name) / "status.json"
        if status.exists():
            yield lambda file=status: Status.read(file)
    if outputs.memory_limits.exists():
        remedy = "remove it; it is measured again"
        yield lambda: read_json(outputs.memory_limits, dict[str, MemoryLimit], "a file of memory limits", remedy)
    for folder in sorted(outputs.outbox.glob("*/")):
        outbox = Outbox(folder)
        for name in outbox.names():
            yield lambda outbox=outbox, name=name: outbox.load(name)
    journal = outputs.studies / "journal.log"
    if journal.exists():
        yield lambda: check_journal(journal)
    artifacts = open_storage(outputs.artifacts)
    for point in artifacts.names():
        if SELECTION_FILE in artifacts.names(point):
            yield lambda file=f"{point}/{SELECTION_FILE}": _read_manifest(
                artifacts.read(file), str(Path(artifacts.where) / file)
            )


def _read_manifest(data: bytes, where: str) -> None:
    try:
        ArtifactManifest.of(data, where)
    except SpoiltFileError:
        raise
    except ValueError as error:
        raise SpoiltFileError(f"{where!r} is not a manifest of drawn cells ({error}): remove it, it is made again.") from error
