"""Wilson's interval of a success rate: the one place that computes it."""

from __future__ import annotations

from math import sqrt

Z95 = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""


def wilson(successes: int | float, trials: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a binomial rate (Wilson 1927), as scipy's `proportion_ci("wilson")`; (0, 1) without trials.

    Ties may count as half a success.
    """
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return low, high
