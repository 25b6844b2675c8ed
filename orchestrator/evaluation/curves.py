"""Sampled curves of a cell: its cost during planning, and its distance to the goal during execution."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from planners.base import Plans

COST_SAMPLES = 33
"""Samples of a plan's cost: after 0, 1/32, 2/32, ... of its model evaluations."""
MOST_DISTANCES = 51
"""Most distances kept of an execution; a longer one is thinned evenly."""


def cost_curve(plans: Plans) -> Float[np.ndarray, "batch samples"]:
    """The best rolled-out cost of each row after even shares of its model evaluations."""
    trace, spent = plans.trace.detach().cpu().double().numpy(), plans.spent.cpu().numpy()
    shares = np.linspace(0.0, 1.0, COST_SAMPLES)
    found = np.empty((len(trace), COST_SAMPLES))
    for row, (costs, steps) in enumerate(zip(trace, spent, strict=True)):
        thresholds = np.maximum(shares * steps[-1], steps[0])
        found[row] = costs[np.searchsorted(steps, thresholds, side="right") - 1]
    return found


def distance_times(horizon: int) -> list[int]:
    """Environment steps at which the distance to the goal is kept: all, or evenly spaced ones that include both ends."""
    return np.unique(np.linspace(0, horizon, min(horizon + 1, MOST_DISTANCES)).round().astype(int)).tolist()


def sampled(distance: Float[np.ndarray, " time_plus_one"]) -> tuple[float | None, ...]:
    """Distances at `distance_times`; None where they are not finite."""
    return finite(distance[distance_times(len(distance) - 1)])


def finite(values: Float[np.ndarray, " samples"]) -> tuple[float | None, ...]:
    """The values, with None for those that are not finite."""
    return tuple(value if math.isfinite(value) else None for value in values.tolist())
