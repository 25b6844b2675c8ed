"""Intervals of means by resampling (Efron 1979), and the interquartile mean over tasks (Agarwal et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Float64

Interval = tuple[float, float]
RESAMPLES = 2000
DRAWS = 4_000_000
"""Numbers drawn for an interval at most: of many values fewer resamples do, for their interval is narrow."""
FEWEST_RESAMPLES = 200
FEWEST = 5
"""Values below which resampling would say more than they know."""


def mean_interval(values: Float64[np.ndarray, " n"], resamples: int = RESAMPLES) -> Interval | None:
    """A 95 % percentile interval of the mean; None for fewer than five values."""
    if len(values) < FEWEST:
        return None
    return _percentiles(_resampled_means(values, resamples))


def interquartile_mean(strata: Sequence[Float64[np.ndarray, " _"]]) -> float:
    """Mean of the middle half of all values together; half of a percent of wild ones cannot move it."""
    return float(_trimmed(np.concatenate(strata)[None])[0])


def interquartile_interval(strata: Sequence[Float64[np.ndarray, " _"]], resamples: int = RESAMPLES) -> Interval | None:
    """A 95 % percentile interval of the interquartile mean, resampled within each stratum (a task at a horizon).

    None where a stratum has fewer than five values.
    """
    if min(map(len, strata)) < FEWEST:
        return None
    random = np.random.default_rng(0)
    resamples = min(resamples, max(FEWEST_RESAMPLES, DRAWS // sum(map(len, strata))))
    drawn = [values[random.integers(len(values), size=(resamples, len(values)))] for values in strata]
    return _percentiles(_trimmed(np.concatenate(drawn, 1)))


def stratified_mean_interval(strata: Sequence[Float64[np.ndarray, " _"]], resamples: int = RESAMPLES) -> Interval | None:
    """A 95 % percentile interval of the mean of the strata's means; None where a stratum has fewer than five values."""
    if min(map(len, strata)) < FEWEST:
        return None
    resamples = min(resamples, max(FEWEST_RESAMPLES, DRAWS // sum(map(len, strata))))
    means = [_resampled_means(values, resamples, stratum) for stratum, values in enumerate(strata)]
    return _percentiles(np.mean(means, 0))


def _trimmed(values: Float64[np.ndarray, "samples n"]) -> Float64[np.ndarray, " samples"]:
    cut = values.shape[1] // 4
    part = np.partition(values, (cut, values.shape[1] - cut - 1), 1) if cut else values
    return part[:, cut : values.shape[1] - cut].mean(1)


def _resampled_means(values: Float64[np.ndarray, " n"], resamples: int, seed: int = 0) -> Float64[np.ndarray, " resamples"]:
    resamples = min(resamples, max(FEWEST_RESAMPLES, DRAWS // len(values)))
    # About their own mean, or single precision would show where values are large and alike.
    centre = values.mean()
    return centre + (_weights(len(values), resamples, seed) @ (values - centre).astype(np.float32)).astype(np.float64)


@lru_cache(maxsize=32)
def _weights(n: int, resamples: int, seed: int) -> Float32[np.ndarray, "resamples n"]:
    """How often each of n values is drawn, over n; always the same draws, so that reports repeat."""
    drawn = np.random.default_rng(seed).integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * n)
    return (counts.reshape(resamples, n) / n).astype(np.float32)


def _percentiles(samples: Float64[np.ndarray, " samples"]) -> Interval:
    low, high = np.quantile(samples, (0.025, 0.975))
    return float(low), float(high)
