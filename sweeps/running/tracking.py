"""Where a sweep is tracked, as its config says, and what it tells MLflow when."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.core.messages import mask_text
from orchestrator.core.portion import Portion
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger
from orchestrator.tracking.background_tracker import BackgroundTracker
from orchestrator.tracking.destination import Destination
from orchestrator.tracking.environment import write_environment
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.relay import Courier
from orchestrator.tracking.run_content import OVERVIEW_COLUMNS, overview
from orchestrator.tracking.sweep_info import Extent, SweepInfo
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.usage_file import UsageFile
from sweeps.config.grid import Grid
from sweeps.config.jobs import Job
from sweeps.config.outputs import Outputs
from world_models.errors import UserError, require

_WHERE = "where.json"
"""In a destination's outbox: its address without credentials, and its experiment."""


def destination_of(settings: object, outputs: Outputs) -> Destination | None:
    """What the config's `tracking` describes; None where it is off. UserError for what cannot be an address."""
    values: Mapping[str, Any] = settings if isinstance(settings, Mapping) else {}
    enabled = values.get("enabled", True)
    require(isinstance(enabled, bool), f"tracking.enabled {enabled!r} is neither true nor false.")
    if not enabled:
        return None
    uri = values.get("uri") or outputs.tracking_uri
    experiment = values.get("experiment")
    return Destination(str(uri), outputs.tracking_artifacts, "grasp" if experiment is None else str(experiment))


def courier_to(destination: Destination, outputs: Outputs, ledger: Ledger) -> Courier:
    """Who brings what waits in an output folder to a destination."""
    tracker = Tracker(destination, outputs.markers)
    return Courier(Outbox(outputs.outbox / destination.key), tracker, ledger, outputs.artifacts)


def known_destinations(outputs: Outputs) -> list[Destination]:
    """Those that an output folder has records for, or had; without credentials."""
    found = []
    for file in sorted(outputs.outbox.glob(f"*/{_WHERE}")):
        try:
            said = json.loads(file.read_text())
            found.append(Destination(said["uri"] or outputs.tracking_uri, outputs.tracking_artifacts, said["experiment"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # the sweeps that went there can still be named
    return found


def remember(destination: Destination, outputs: Outputs) -> None:
    """Let `known_destinations` find it. Nothing happens on a disk that is full: the config of the sweep says it too."""
    file = outputs.outbox / destination.key / _WHERE
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        uri = None if destination.at_home else destination.shown
        file.write_text(json.dumps({"uri": uri, "experiment": destination.experiment}))
    except OSError:
        return


@dataclass(frozen=True)
class Telling:
    """What is told of a sweep."""

    grid: Grid
    config_text: str
    environment: Path
    """Folder of files on what the sweep ran in."""
    usage: Path
    """File with samples of what its workers took."""
    words: Sequence[str] | None = None
    """Of the command line, after the verb; None where they are not known."""

    @property
    def command(self) -> str:
        """Passwords are masked."""
        return "" if self.words is None else mask_text(shlex.join(["grasp", "sweep", *self.words]))

    def info(self, description: str = "") -> SweepInfo:
        """With the headline, once it is known."""
        files = tuple(str(file.resolve()) for file in sorted(self.environment.glob("*")))
        models = tuple(sorted({entry.point.model for entry in self.grid.entries}))
        usage = str(self.usage.resolve())
        return SweepInfo(self.grid.name, self.config_text, self.command, description, files, models, usage)


class SweepTracking:
    """A sweep's dealings with MLflow; where tracking is off, none of these does anything."""

    def __init__(self, job: Job, words: Sequence[str], ledger: Ledger, say: Callable[[str], None]) -> None:
        self._telling = _telling(job.grid, job.config_text, job.outputs, words)
        self._outputs, self._ledger, self._say = job.outputs, ledger, say
        self.destination = destination_of(job.values.get("tracking"), job.outputs)
        self._background: BackgroundTracker | None = None
        self._usage = UsageFile(self._telling.usage)

    def check(self) -> None:
        """Before planning: UserError for a store that will never take anything; one that is away is only warned of."""
        if self.destination is not None and (warning := self.destination.check()):
            self._say(f"{warning}: planning goes on, and records wait in {self._outputs.outbox}")

    def start(self, missing: Sequence[Portion]) -> None:
        """The sweep begins; `missing` is to be planned."""
        if self.destination is None:
            return
        remember(self.destination, self._outputs)
        if missing:
            write_environment(self._telling.environment, self._telling.command)
        courier = courier_to(self.destination, self._outputs, self._ledger)
        portions = self._telling.grid.portions()
        self._background = BackgroundTracker(courier, self._telling.info(), portions, missing, self._say)
        self._background.start()

    @property
    def waiting(self) -> str:
        """What waits for MLflow, in words; empty when nothing does."""
        if self.destination is None:
            return ""
        count = Outbox(self._outputs.outbox / self.destination.key).waiting()
        return f"{count} records wait for MLflow at {self.destination.shown}" if count else ""

    def on_result(self, result: BatchResult) -> None:
        """A batch is in the ledger."""
        if self._background is None:
            return
        self._background.on_result(result)
        if result.effort is not None and result.effort.usage is not None:
            self._usage.add(result.effort.usage)

    def finish(self, description: str, files: Sequence[Path]) -> None:
        """The sweep has ended: wait a while for what waits, and say what still does."""
        if self._background is None:
            return
        trouble = self._background.finish(self._telling.info(description), files)
        if trouble:
            self._say(trouble)

    def again(self, description: str, files: Sequence[Path]) -> None:
        """Nothing was planned: tell what an earlier run could not; MLflow is left alone when nothing is lacking."""
        if self.destination is None:
            return
        courier = courier_to(self.destination, self._outputs, self._ledger)
        if courier.outbox.names() or not is_tracked(courier.tracker, self._telling, self._ledger):
            self.start([])
            self.finish(description, files)


def is_tracked(tracker: Tracker, telling: Telling, ledger: Ledger) -> bool:
    """Whether MLflow was told all that the ledger has of a sweep; MLflow is not asked."""
    cells = Extent.of(telling.grid.portions())
    table = cells.select(ledger.table(points=cells.points, columns=list(OVERVIEW_COLUMNS)))
    return table.num_rows == 0 or tracker.tracked(telling.info(), overview(table))


def saved_telling(name: str, outputs: Outputs) -> tuple[Telling, Destination | None]:
    """What is told of a saved sweep, and where its config says that it is told; UserError as `Outputs.load` raises it."""
    import yaml

    grid = outputs.load(name)
    try:
        text = (outputs.sweep(name) / "config.yaml").read_text()
        values = yaml.safe_load(text)
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"the config of sweep {name!r} cannot be read ({error}): run the sweep again.") from error
    return _telling(grid, text, outputs), destination_of((values or {}).get("tracking"), outputs)


def _telling(grid: Grid, config_text: str, outputs: Outputs, words: Sequence[str] | None = None) -> Telling:
    return Telling(grid, config_text, outputs.environment(grid.name), outputs.usage(grid.name), words)
