"""The file sweep.json: a sweep's grid, and where its ledger lies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.core.modes import ExecutionMode
from orchestrator.core.success import SuccessRule
from sweeps.config.grid import Entry, Grid
from world_models.files.reading import Count, read_json
from world_models.history import History
from world_models.tasks.base import LONGEST_HORIZON

WHAT = "a sweep saved by this version"
"""The words for what such a file holds."""


@dataclass(frozen=True)
class SavedSweep:
    """The content of a sweep.json."""

    name: str
    seeds: tuple[Count, ...]
    entries: tuple[Entry, ...]
    storage: str | None = None
    """The `storage` that it was run with; a folder below the output folder is relative to that."""

    def __post_init__(self) -> None:
        if not self.entries or not self.seeds:
            raise ValueError("it has no cells")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("it has a seed twice")
        for point in (entry.point for entry in self.entries):
            if not 0 < point.horizon <= LONGEST_HORIZON or point.disagreement < 0:
                raise ValueError(f"horizon {point.horizon} or disagreement {point.disagreement} is out of range")
            ExecutionMode.of(point.mode)
            History.of(point.history)
            SuccessRule.of(point.success)
            for name, value in point.planner.settings:
                if isinstance(value, tuple | dict):
                    raise ValueError(f"the planner's setting {name} is not one number or word")
        if len({entry.point.point_id for entry in self.entries}) < len(self.entries):
            raise ValueError("it has a point twice")

    @staticmethod
    def of(grid: Grid, storage: str | None = None) -> SavedSweep:
        """The content for a grid."""
        return SavedSweep(grid.name, grid.seeds, grid.entries, storage)

    @property
    def grid(self) -> Grid:
        """The grid."""
        return Grid(self.name, self.entries, self.seeds)


def read_saved(file: Path) -> SavedSweep:
    """The saved sweep in a file, under the name of its folder. Raises SpoiltFileError for anything else."""
    return replace(read_json(file, SavedSweep, WHAT, "run the sweep again to replace it"), name=file.parent.name)
