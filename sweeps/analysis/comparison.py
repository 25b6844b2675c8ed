"""Comparison of two planners, models or revisions on the same problems: size and significance of the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from jaxtyping import Float64

from orchestrator.evaluation.wilson_interval import wilson
from sweeps.analysis.bootstrap import Interval, mean_interval
from sweeps.analysis.intervals import Paired, adjusted, paired
from sweeps.analysis.point_cells import PointCells

LEVEL = 0.05
"""Share of false alarms among the differences that are called real (false-discovery rate)."""


class Verdict(Enum):
    """The conclusion on a difference in success."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Comparison:
    """One side against another, on common seeds."""

    success: Paired
    nearer: tuple[float, int]
    """Number of problems that end nearer to the goal, with ties as half, and number of problems with a known distance."""
    progress: float | None
    """Mean difference of the share of the way covered; None if no distance is known."""
    progress_interval: Interval | None
    """95 % bootstrap interval of `progress`; None with too few pairs."""
    q_value: float = 1.0
    """McNemar's p-value, adjusted for all comparisons that are shown with it."""

    @property
    def verdict(self) -> Verdict:
        """The verdict: better or worse only if the adjusted test is significant."""
        if self.q_value > LEVEL or not self.success.difference:
            return Verdict.UNCLEAR
        return Verdict.BETTER if self.success.difference > 0 else Verdict.WORSE

    @property
    def nearer_interval(self) -> Interval:
        """Wilson's 95 % interval of the probability to end nearer."""
        return wilson(*self.nearer)


def compare_cells(a: PointCells, b: PointCells) -> Comparison:
    """The comparison of a with b, on the cells that ran in both."""
    a, b = a.done, b.done
    _, in_a, in_b = np.intersect1d(a.seed, b.seed, assume_unique=True, return_indices=True)
    gap = _known(a.distance[in_a] - b.distance[in_b])
    progress = _known(a.progress[in_a] - b.progress[in_b])
    return Comparison(
        paired(a.outcomes, b.outcomes),
        (float((gap < 0).sum() + 0.5 * (gap == 0).sum()), len(gap)),
        float(progress.mean()) if len(progress) else None,
        mean_interval(progress),
    )


def adjust(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with q-values, adjusted over all that have pairs."""
    p_values = [comparison.success.p_value for comparison in comparisons if comparison.success.pairs]
    q_values = iter(adjusted(p_values))
    return [replace(one, q_value=next(q_values)) if one.success.pairs else one for one in comparisons]


def _known(values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " known"]:
    return values[~np.isnan(values)]
