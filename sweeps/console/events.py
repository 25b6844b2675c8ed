"""The output of `--json`: one object per line, in one schema that `grasp sweep`, `grasp tune` and `grasp status` share.

Every line has `schema`, `kind` and `progress`; the other keys depend on the kind. docs/running.md describes the keys.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar

from orchestrator.driver.status import Status

SCHEMA = 1
"""Version of the schema; grows when a key changes its meaning or is removed, not when one is added."""


@dataclass(frozen=True)
class Progress:
    """The progress, in the same form for all kinds of events."""

    unit: str
    """`cells` or `trials`, which `done` and `total` count."""
    done: int
    """Number that have ended so far, including earlier runs."""
    total: int
    """Requested number, including earlier runs."""
    seconds: float
    """Seconds since the driver started."""
    left: float | None = None
    """Seconds to go; None if not known yet."""
    left_low: float | None = None
    left_high: float | None = None


@dataclass(frozen=True)
class Event(ABC):
    """One line of `--json`."""

    kind: ClassVar[str]

    progress: Progress | None

    def as_json(self) -> dict[str, object]:
        """The line as plain values."""
        return {"schema": SCHEMA, "kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class SweepEvent(Event):
    """A driver plans sweeps; its own keys count the cells that this run plans."""

    kind = "sweep"

    done: int
    total: int
    failed: int
    seconds: float
    rate: float
    """Cells per second."""
    left: tuple[float, float, float] | None
    """Seconds to go, and their interval."""
    successes: Mapping[str, list[int]]
    """Successes and cells that ran, by planner."""
    workers: int
    busy: int
    retries: int
    quarantined: int


@dataclass(frozen=True)
class JoinedEvent(Event):
    """Another driver plans the sweeps requested here."""

    kind = "joined"

    done: int
    total: int


@dataclass(frozen=True)
class StudyEvent(Event):
    """A driver runs the trials of a study."""

    kind = "study"

    trials: int
    total: int
    pruned: int
    best: float | None
    """The best value of the first objective in this run."""
    cells: int
    cells_failed: int
    seconds: float
    under_way: int


@dataclass(frozen=True)
class StatusEvent(Event):
    """A sweep as seen by `grasp status`, with the last status of its driver."""

    kind = "status"

    sweep: str
    running: bool
    driver: Status | None
    """Its fields are merged with the others; None if there is no readable status."""

    @staticmethod
    def of(sweep: str, running: bool, driver: Status | None) -> StatusEvent:
        """The event of a driver's status."""
        if driver is None:
            return StatusEvent(None, sweep, running, None)
        done, left = driver.there + driver.done, (driver.left, driver.left_low, driver.left_high)
        return StatusEvent(Progress("cells", done, driver.cells, driver.seconds, *left), sweep, running, driver)

    def as_json(self) -> dict[str, object]:
        """The line as plain values."""
        line = super().as_json()
        del line["driver"]
        return line | ({} if self.driver is None else asdict(self.driver))
