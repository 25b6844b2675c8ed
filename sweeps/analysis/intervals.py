"""Intervals and paired tests of success rates, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt

import numpy as np
from jaxtyping import Bool, Int64
from scipy.stats import false_discovery_control

from orchestrator.evaluation.wilson_interval import Z95, wilson

Outcomes = tuple[Int64[np.ndarray, " _"], Bool[np.ndarray, " _"]]
"""Seeds, each once, and whether each was solved."""


@dataclass(frozen=True)
class Rate:
    """A success rate: `successes` of `trials`."""

    successes: int
    trials: int

    @property
    def value(self) -> float | None:
        """The share; None without trials."""
        return self.successes / self.trials if self.trials else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % score interval; [0, 1] without trials."""
        return wilson(self.successes, self.trials)

    @property
    def text(self) -> str:
        """The rate with its interval, such as `0.75 [0.30, 0.95]`; `-` without trials."""
        return "-" if self.value is None else f"{self.value:.2f} [{self.interval[0]:.2f}, {self.interval[1]:.2f}]"


def mean_of_rates(rates: Sequence[Rate]) -> tuple[float, float]:
    """A 95 % interval of the mean of several rates, each counted alike (Price and Bonett 2004, adjusted Wald); [0, 1] if one
    has no trials.

    Resampling will not do: for rates near 1 its intervals have no width.
    """
    more = 2 / len(rates)  # successes, and as many failures, for each rate
    if not all(rate.trials for rate in rates):
        return 0.0, 1.0
    trials = [rate.trials + 2 * more for rate in rates]
    shares = [(rate.successes + more) / n for rate, n in zip(rates, trials, strict=True)]
    centre = sum(shares) / len(rates)
    half = Z95 * sqrt(sum(share * (1 - share) / n for share, n in zip(shares, trials, strict=True))) / len(rates)
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class Paired:
    """Two planners on the same problems: `only_a` were solved by a alone, `only_b` by b alone, of `pairs` common ones."""

    pairs: int
    only_a: int
    only_b: int

    @property
    def difference(self) -> float | None:
        """Success rate of a minus that of b; None without pairs."""
        return (self.only_a - self.only_b) / self.pairs if self.pairs else None

    @property
    def interval(self) -> tuple[float, float]:
        """A 95 % interval of the difference (Bonett and Price 2012, adjusted Wald); [-1, 1] without pairs."""
        if not self.pairs:
            return -1.0, 1.0
        a, b = ((only + 1) / (self.pairs + 2) for only in (self.only_a, self.only_b))
        half = Z95 * sqrt((a + b - (a - b) ** 2) / (self.pairs + 2))
        return max(-1.0, a - b - half), min(1.0, a - b + half)

    @property
    def p_value(self) -> float:
        """P-value of McNemar's exact two-sided test, in which the pairs that disagree are tosses of a fair coin."""
        disagree = self.only_a + self.only_b
        tail = sum(comb(disagree, k) for k in range(min(self.only_a, self.only_b) + 1)) / 2**disagree
        return min(1.0, 2 * tail)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, adjusted so that calling those up to 0.05 real is wrong in 5 % of the calls (false-discovery
    rate; Benjamini and Hochberg 1995)."""
    return [] if not p_values else [float(q) for q in false_discovery_control(p_values)]


def paired(a: Outcomes, b: Outcomes) -> Paired:
    """Compare successes by seed, on common seeds only; the seeds of each are sorted."""
    common, in_a, in_b = np.intersect1d(a[0], b[0], assume_unique=True, return_indices=True)
    won_a, won_b = a[1][in_a], b[1][in_b]
    return Paired(len(common), int((won_a & ~won_b).sum()), int((won_b & ~won_a).sum()))
