"""Intervals and paired tests of success rates, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, sqrt

Z95 = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""


@dataclass(frozen=True)
class Rate:
    """`successes` of `trials`."""

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


def wilson(successes: int, trials: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a binomial rate (Wilson 1927), as scipy's `proportion_ci("wilson")`."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return low, high


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
    def p_value(self) -> float:
        """McNemar's exact two-sided test: could the pairs that disagree be a fair coin's?"""
        disagree = self.only_a + self.only_b
        tail = sum(comb(disagree, k) for k in range(min(self.only_a, self.only_b) + 1)) / 2**disagree
        return min(1.0, 2 * tail)


def paired(a: dict[int, bool], b: dict[int, bool]) -> Paired:
    """Compare successes by seed, on common seeds only."""
    common = a.keys() & b.keys()
    return Paired(len(common), sum(a[s] and not b[s] for s in common), sum(b[s] and not a[s] for s in common))
