"""Intervals of means by resampling (Efron 1979), and the interquartile mean over tasks (Agarwal et al. 2021).

Resamples have one value less than the data, and percentiles come from Student's distribution: with resamples of the full size
and percentiles of the normal distribution, intervals from few values are too narrow (Rao and Wu 1988; Hesterberg 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Float64
from scipy.stats import norm, t

Interval = tuple[float, float]
RESAMPLES = 2000
DRAWS = 4_000_000
"""Most numbers drawn for an interval: with many values, fewer resamples suffice because the interval is narrow."""
FEWEST_RESAMPLES = 200
FEWEST_ALONE, FEWEST_OF_SEVERAL = 16, 5
"""Fewest values that resampling is trusted with: for a mean, and for each of several strata."""


def mean_interval(values: Float64[np.ndarray, " n"], resamples: int = RESAMPLES) -> Interval | None:
    """A 95 % percentile interval of the mean; None for fewer than sixteen values."""
    if len(values) < FEWEST_ALONE:
        return None
    return _percentiles(_resampled_means(values, resamples), len(values) - 1)


def interquartile_mean(strata: Sequence[Float64[np.ndarray, " _"]]) -> float:
    """Mean of the middle half of all values together; a few outliers barely move it."""
    return float(_trimmed(np.concatenate(strata)[None])[0])


def interquartile_interval(strata: Sequence[Float64[np.ndarray, " _"]], resamples: int = RESAMPLES) -> Interval | None:
    """A 95 % percentile interval of the interquartile mean, resampled within each stratum (a task at a horizon).

    None if a stratum has fewer than five values.
    """
    if min(map(len, strata)) < FEWEST_OF_SEVERAL:
        return None
    random = np.random.default_rng(0)
    resamples = min(resamples, max(FEWEST_RESAMPLES, DRAWS // sum(map(len, strata))))
    drawn = [values[random.integers(len(values), size=(resamples, len(values) - 1))] for values in strata]
    return _percentiles(_trimmed(np.concatenate(drawn, 1)), sum(map(len, strata)) - len(strata))


def _trimmed(values: Float64[np.ndarray, "samples n"]) -> Float64[np.ndarray, " samples"]:
    cut = values.shape[1] // 4
    part = np.partition(values, (cut, values.shape[1] - cut - 1), 1) if cut else values
    return part[:, cut : values.shape[1] - cut].mean(1)


def _resampled_means(values: Float64[np.ndarray, " n"], resamples: int) -> Float64[np.ndarray, " resamples"]:
    resamples = min(resamples, max(FEWEST_RESAMPLES, DRAWS // len(values)))
    # Centred on their mean, because single precision would lose digits of large and similar values.
    centre = values.mean()
    return centre + (_weights(len(values), resamples) @ (values - centre).astype(np.float32)).astype(np.float64)


@lru_cache(maxsize=32)
def _weights(n: int, resamples: int) -> Float32[np.ndarray, "resamples n"]:
    """The weight of each of n values in each resample; always the same draws, so that reports repeat."""
    drawn = np.random.default_rng(0).integers(n, size=(resamples, n - 1)) + n * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * n)
    return (counts.reshape(resamples, n) / (n - 1)).astype(np.float32)


def _percentiles(samples: Float64[np.ndarray, " samples"], freedom: int) -> Interval:
    """The percentiles that enclose 95 % of Student's distribution with `freedom` degrees of freedom."""
    tail = norm.cdf(t.ppf(0.025, freedom))
    low, high = np.quantile(samples, (tail, 1 - tail))
    return float(low), float(high)
