"""Growth of a positive quantity with plan length, exponential or as a power, with bootstrap intervals over problems."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from world_models.errors import require


@dataclass(frozen=True)
class Growth:
    """Least-squares fits of log(value) to T (exponential) and to log T (power), on the mean of the logarithm over problems."""

    rate: float
    """Exponential growth per step: log(value) = constant + rate * T."""
    rate_interval: tuple[float, float]
    """95 % bootstrap interval over problems."""
    power: float
    """log(value) = constant + power * log T."""
    power_interval: tuple[float, float]
    exponential_share: float
    """Fraction of the bootstrap resamples in which the exponential has the smaller residual."""
    fold: float
    """Ratio of the geometric mean at the longest T to that at the shortest."""
    fold_interval: tuple[float, float]


def growth(lengths: tuple[int, ...], values: Float[Tensor, "batch lengths"], resamples: int = 2000, seed: int = 0) -> Growth:
    """Fit the growth of `values` (>= 0; one row per problem, the same problems at all lengths) with plan length.

    Zeros count as 1e-12 of the largest value. Raises UserError for fewer than three lengths.
    """
    require(len(lengths) >= 3, f"{len(lengths)} plan lengths cannot tell an exponential from a power: give at least 3.")
    logs = values.double().clamp_min(1e-12 * float(values.max().clamp_min(1e-300))).log()
    means = torch.cat([logs.mean(0, keepdim=True), _resampled(logs, resamples, seed)])
    steps = torch.tensor(lengths, dtype=torch.float64)
    rate, exponential_misfit = _fit(steps, means)
    power, power_misfit = _fit(steps.log(), means)
    fold = (means[:, -1] - means[:, 0]).exp()
    return Growth(
        rate=float(rate[0]),
        rate_interval=_interval(rate[1:]),
        power=float(power[0]),
        power_interval=_interval(power[1:]),
        exponential_share=float((exponential_misfit < power_misfit)[1:].double().mean()),
        fold=float(fold[0]),
        fold_interval=_interval(fold[1:]),
    )


def bootstrap_median(
    values: Float[Tensor, " batch"], resamples: int = 2000, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """The median and its 95 % bootstrap interval."""
    drawn = values.double()[_draws(len(values), resamples, seed)]
    return float(values.double().quantile(0.5)), _interval(drawn.quantile(0.5, dim=1))


def _resampled(values: Float[Tensor, "batch lengths"], resamples: int, seed: int) -> Float[Tensor, "resamples lengths"]:
    return values[_draws(len(values), resamples, seed)].mean(1)


def _draws(count: int, resamples: int, seed: int) -> Tensor:
    return torch.randint(count, (resamples, count), generator=torch.Generator().manual_seed(seed))


def _fit(x: Float[Tensor, " lengths"], y: Float[Tensor, "resamples lengths"]) -> tuple[Tensor, Tensor]:
    """Slope and sum of squared residuals of a line fitted to each row."""
    x = x - x.mean()
    y = y - y.mean(1, keepdim=True)
    slope = (y @ x) / (x @ x)
    return slope, (y - slope[:, None] * x).square().sum(1)


def _interval(drawn: Float[Tensor, " resamples"]) -> tuple[float, float]:
    low, high = drawn.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high
