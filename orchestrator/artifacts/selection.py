"""Selection of a point's cells to draw: best, median, worst, and the first that missed. A pure function of their results."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from world_models.errors import UnknownNameError, require

REASONS = ("best", "median", "worst", "first_failure")
"""Reasons to draw a cell: its rank by final distance to the goal, or that it has the lowest seed that missed."""

ALL = "all"
"""Used instead of reasons: every cell."""


class Scored(NamedTuple):
    """The results of a cell that decide the selection."""

    seed: int
    distance: float
    """Final distance to the goal; NaN if unknown."""
    success: bool


@dataclass(frozen=True)
class SelectedCell:
    """A cell to draw, and the reasons for it."""

    seed: int
    reasons: tuple[str, ...]
    """Reasons in the order of `REASONS`; empty if all cells are drawn and none of the reasons applies."""

    @property
    def title(self) -> str:
        """A readable name for files and addresses, such as `best_seed12`."""
        return "_".join([*self.reasons, f"seed{self.seed}"])


@dataclass(frozen=True)
class ArtifactSelection:
    """Which cells of a point are drawn, and whether with a video."""

    reasons: tuple[str, ...] = REASONS
    """Some of `REASONS`, `(ALL,)` for every cell, or empty for none."""
    video: bool = True
    """Whether to make an mp4 as well as the gif."""

    def __post_init__(self) -> None:
        for reason in self.reasons:
            if reason not in (*REASONS, ALL):
                raise UnknownNameError("value of artifacts.cells", reason, (*REASONS, ALL))
            require(self.reasons.count(reason) == 1, f"artifacts.cells names {reason!r} twice: name each once.")
        require(
            ALL not in self.reasons or len(self.reasons) == 1,
            "artifacts.cells: 'all' means every cell: name nothing else with it.",
        )


NO_ARTIFACTS = ArtifactSelection(())
"""The selection that draws no cell."""


def select_cells(cells: Iterable[Scored], reasons: Iterable[str] = REASONS) -> tuple[SelectedCell, ...]:
    """The cells to draw, sorted by seed, each once with all its reasons; the order of `cells` does not matter.

    `cells` are those that were executed. Among equal distances the lower seed is better; an unknown distance is worse than
    any other. The median is the lower of the two in the middle.
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
