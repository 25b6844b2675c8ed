"""Tracking of a sweep: its tracking store, from the config, and the records sent to MLflow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.messages import mask_words
from orchestrator.core.portion import Portion
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger
from orchestrator.scheduling.scheduler import Scheduler
from orchestrator.tracking.background_tracker import BackgroundTracker
from orchestrator.tracking.content.overview import OVERVIEW_COLUMNS, overview
from orchestrator.tracking.content.sweep_info import CellSet, PointLabels, SweepInfo
from orchestrator.tracking.environment import write_environment
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.relay import OutboxRelay
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.tracking_store import TrackingStore
from orchestrator.tracking.usage_file import UsageFile
from sweeps.config.grid import Grid, point_words
from sweeps.config.jobs import SweepJob
from sweeps.config.outputs import Outputs
from sweeps.config.schema.check import typed
from sweeps.config.schema.sections import TrackingConfig
from sweeps.running.observer import RunObserver
from world_models.errors import UserError
from world_models.files.reading import read_or_set_aside, to_json
from world_models.files.writing import WriteError, write_file
from world_models.files.yaml_reading import parse_yaml, read_yaml_text

_log = logging.getLogger(__name__)

_STORE_FILE = "where.json"
"""File in a tracking store's outbox: a `StoreAddress`."""


@dataclass(frozen=True)
class StoreAddress:
    """The address of a tracking store, as it is remembered."""

    uri: str | None
    """Without credentials; None for the output folder's own store."""
    experiment: str


def tracking_store_of(config: TrackingConfig, outputs: Outputs) -> TrackingStore | None:
    """The tracking store in the config's `tracking`; None if tracking is off. Raises UserError for an invalid address."""
    if not config.enabled:
        return None
    return TrackingStore(config.uri or outputs.tracking_uri, outputs.tracking_artifacts, config.experiment)


def relay_to(store: TrackingStore, outputs: Outputs, ledger: Ledger) -> OutboxRelay:
    """The relay that delivers an output folder's waiting records to a tracking store."""
    tracker = Tracker(store, outputs.markers)
    return OutboxRelay(Outbox(outputs.outbox / store.key), tracker, ledger, outputs.artifacts)


def known_tracking_stores(outputs: Outputs) -> list[TrackingStore]:
    """The stores that an output folder has or had records for, without credentials."""
    found = []
    for file in sorted(outputs.outbox.glob(f"*/{_STORE_FILE}")):
        saved = read_or_set_aside(file, StoreAddress, "the address of a tracking store")
        if saved is None:
            continue
        try:
            found.append(TrackingStore(saved.uri or outputs.tracking_uri, outputs.tracking_artifacts, saved.experiment))
        except UserError as error:  # the sweeps that went there can still be named
            _log.warning("%s is left out: %s", file, error)
    return found


def remember_store(store: TrackingStore, outputs: Outputs) -> None:
    """Let `known_tracking_stores` find the store. A full disk is ignored: the sweep's config names the store too."""
    with suppress(WriteError):
        address = StoreAddress(None if store.is_colocated else store.masked_uri, store.experiment)
        write_file(outputs.outbox / store.key / _STORE_FILE, to_json(address))


@dataclass(frozen=True)
class SweepDescription:
    """The description of a sweep for MLflow."""

    grid: Grid
    config_text: str
    environment: Path
    """Folder of files that describe the sweep's environment."""
    usage: Path
    """File with samples of its workers' use of processors and GPUs."""
    words: Sequence[str] | None = None
    """Arguments of the command line, after the command; None if unknown."""

    @property
    def command(self) -> str:
        """The command line, with passwords masked; empty if unknown."""
        return "" if self.words is None else mask_words(["grasp", "sweep", *self.words])

    def info(self, description: str = "") -> SweepInfo:
        """The information for the tracker, with the headline once it is known."""
        files = tuple(str(file.resolve()) for file in sorted(self.environment.glob("*")))
        models = tuple(sorted({entry.point.model for entry in self.grid.entries}))
        usage = str(self.usage.resolve())
        labels = labels_of(self.grid)
        return SweepInfo(self.grid.name, self.config_text, self.command, description, files, models, usage, labels)


def labels_of(grid: Grid) -> dict[str, PointLabels]:
    """The labels of a grid's points, which differ: where a task has several world models, they are named."""
    models: dict[str, set[str]] = {}
    for entry in grid.entries:
        models.setdefault(entry.task, set()).add(entry.point.model)
    labels = {}
    for entry in grid.entries:
        words = [*point_words(entry.point), *([entry.point.model] if len(models[entry.task]) > 1 else [])]
        labels[entry.point.point_id] = PointLabels(
            entry.task, entry.planner_label, entry.point.horizon, tuple(words), entry.unit
        )
    return labels


class SweepTracking(RunObserver):
    """Sends a sweep to MLflow; if tracking is off, no method does anything."""

    def __init__(self, job: SweepJob, words: Sequence[str], ledger: Ledger, say: Callable[[str], None]) -> None:
        self._description = _describe_sweep(job.grid, job.config_text, job.outputs, words)
        self._outputs, self._ledger, self._say = job.outputs, ledger, say
        self.store = tracking_store_of(job.config.tracking, job.outputs)
        self._background: BackgroundTracker | None = None
        self._usage = UsageFile(self._description.usage)

    def check(self) -> None:
        """Check the store before planning: UserError if it can never accept records, a warning if it is unreachable now."""
        if self.store is not None and (warning := self.store.check()):
            self._say(f"{warning}: planning goes on, and records wait in {self._outputs.outbox}")

    def on_start(self, scheduler: Scheduler, missing: Sequence[Portion]) -> None:
        """Start tracking at the start of the run."""
        self.start(missing)

    def start(self, missing: Sequence[Portion]) -> None:
        """Start tracking; `missing` is still to be planned."""
        if self.store is None:
            return
        remember_store(self.store, self._outputs)
        if missing:
            write_environment(self._description.environment, self._description.command)
        relay = relay_to(self.store, self._outputs, self._ledger)
        portions = self._description.grid.portions()
        self._background = BackgroundTracker(relay, self._description.info(), portions, missing, self._say)
        self._background.start()

    @property
    def waiting(self) -> str:
        """How many records wait for MLflow, in words; empty if none does."""
        if self.store is None:
            return ""
        count = Outbox(self._outputs.outbox / self.store.key).waiting()
        return f"{count} records wait for MLflow at {self.store.masked_uri}" if count else ""

    def on_result(self, result: BatchResult) -> None:
        """Track a batch that is in the ledger."""
        if self._background is None:
            return
        self._background.on_result(result)
        if result.resource_use is not None and result.resource_use.usage is not None:
            self._usage.add(result.resource_use.usage)

    def finish(self, description: str, files: Sequence[Path]) -> None:
        """End tracking: wait a while for the outbox to empty, and report what remains in it."""
        if self._background is None:
            return
        trouble = self._background.finish(self._description.info(description), files)
        if trouble:
            self._say(trouble)

    def catch_up(self, description: str, files: Sequence[Path]) -> None:
        """After a run without planning, send what an earlier run could not; MLflow is left alone if it has everything."""
        if self.store is None:
            return
        relay = relay_to(self.store, self._outputs, self._ledger)
        if relay.outbox.names() or not is_tracked(relay.tracker, self._description, self._ledger):
            self.start([])
            self.finish(description, files)


def is_tracked(tracker: Tracker, description: SweepDescription, ledger: Ledger) -> bool:
    """Whether MLflow has received all of a sweep's cells in the ledger; MLflow itself is not asked."""
    cells = CellSet.of(description.grid.portions())
    table = cells.select(ledger.table(points=cells.points, columns=list(OVERVIEW_COLUMNS)))
    return table.num_rows == 0 or tracker.tracked(description.info(), overview(table))


def saved_description(name: str, outputs: Outputs) -> tuple[SweepDescription, TrackingStore | None]:
    """The description of a saved sweep and the tracking store in its config; UserError as from `Outputs.load`."""
    grid, what = outputs.load(name), f"the config of sweep {name!r}"
    file = outputs.sweep(name) / "config.yaml"
    text = read_yaml_text(file, what)
    return _describe_sweep(grid, text, outputs), tracking_store_of(saved_tracking(text, what, str(file)), outputs)


def saved_tracking(text: str, what: str, where: str) -> TrackingConfig:
    """The `tracking` of a config that was saved as YAML; the default where it has none. Raises UserError for a spoilt one."""
    values = parse_yaml(text, what, where)
    section = values.get("tracking") if isinstance(values, dict) else None
    return typed(TrackingConfig, section if isinstance(section, dict) else {}, lambda key: f" in {where}")


def _describe_sweep(grid: Grid, config_text: str, outputs: Outputs, words: Sequence[str] | None = None) -> SweepDescription:
    return SweepDescription(grid, config_text, outputs.environment(grid.name), outputs.usage(grid.name), words)
