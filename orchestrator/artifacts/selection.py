"""Which cells of a point are drawn: best, median, worst, the first that missed. A pure function of what they did."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from world_models.errors import UnknownNameError, UserError, require

REASONS = ("best", "median", "worst", "first_failure")
"""Why a cell can be drawn: by distance to the goal at the end, and the lowest seed that missed it."""

ALL = "all"
"""In place of reasons: every cell."""


class Scored(NamedTuple):
    """What came of a cell, as far as the choice looks."""

    seed: int
    distance: float
    """To the goal at the end; NaN where it is not known."""
    success: bool


@dataclass(frozen=True)
class SelectedCell:
    """A cell that is drawn, and why."""

    seed: int
    reasons: tuple[str, ...]
    """Of `REASONS`, in that order; empty where all cells are drawn and this one is nothing special."""

    @property
    def title(self) -> str:
        """For file names that are read by people and put into addresses, such as `best_seed12`."""
        return "_".join([*self.reasons, f"seed{self.seed}"])


@dataclass(frozen=True)
class ArtifactSelection:
    """Which cells of a point are drawn, and how."""

    reasons: tuple[str, ...] = REASONS
    """Of `REASONS`; `(ALL,)`: every cell; empty: none."""
    video: bool = True
    """Whether there is an mp4 beside the gif."""

    def __post_init__(self) -> None:
        for reason in self.reasons:
            if reason not in (*REASONS, ALL):
                raise UnknownNameError("choice of artifacts.cells", reason, (*REASONS, ALL))
            require(self.reasons.count(reason) == 1, f"artifacts.cells names {reason!r} twice: name each once.")
        require(
            ALL not in self.reasons or len(self.reasons) == 1, "artifacts.cells: 'all' is every cell: name nothing beside it."
        )

    @staticmethod
    def of(values: object) -> ArtifactSelection:
        """What a config's `artifacts` says; UserError for what cannot be."""
        if not isinstance(values, Mapping):
            raise UserError(f"artifacts {values!r} is no section: give artifacts.cells=[best,worst] or artifacts.video=false.")
        cells, video = values.get("cells", list(REASONS)), values.get("video", True)
        unknown = set(map(str, values)) - {"cells", "video"}
        if unknown:
            raise UnknownNameError("setting of artifacts", min(unknown), ("cells", "video"))
        require(isinstance(video, bool), f"artifacts.video {video!r} is neither true nor false.")
        named = [] if cells is None else [cells] if isinstance(cells, str) else cells
        sound = isinstance(named, list) and all(isinstance(cell, str) for cell in named)
        require(sound, f"artifacts.cells {cells!r} is no list of {', '.join(REASONS)}: name some, or give all, or [] for none.")
        return ArtifactSelection(tuple(named), bool(video))


NO_ARTIFACTS = ArtifactSelection(())
"""No cell is drawn."""


def select_cells(cells: Iterable[Scored], reasons: Iterable[str] = REASONS) -> tuple[SelectedCell, ...]:
    """The cells to draw, by seed, each once with all its reasons, whatever the order in which `cells` come.

    `cells` are those that were executed. Of equal distances the lower seed is the better one; an unknown distance is worse
    than any. The median is the lower of the two in the middle.
    """
    wanted = set(reasons)
    ranked = sorted(cells, key=lambda cell: (math.inf if math.isnan(cell.distance) else cell.distance, cell.seed))
    if not ranked or not wanted:
        return ()
    found = {"best": ranked[0].seed, "median": ranked[(len(ranked) - 1) // 2].seed, "worst": ranked[-1].seed}
    missed = [cell.seed for cell in ranked if not cell.success]
    if missed:
        found["first_failure"] = min(missed)
    everything = ALL in wanted
    seeds = [cell.seed for cell in ranked] if everything else [seed for reason, seed in found.items() if reason in wanted]
    return tuple(
        SelectedCell(seed, tuple(r for r in REASONS if found.get(r) == seed and (everything or r in wanted)))
        for seed in sorted(set(seeds))
    )
