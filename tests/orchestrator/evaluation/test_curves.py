"""Curves recorded during a cell."""

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.evaluation.curves import COST_SAMPLES, MOST_DISTANCES, cost_curve, distance_times, sampled
from planners.base import Plans, PlanStatus


def plans(trace: list[list[float]], spent: list[list[int]]) -> Plans:
    empty, rows = torch.zeros(len(trace), 1, 2), len(trace)
    costs = torch.tensor([row[-1] for row in trace])
    counts = torch.tensor([row[-1] for row in spent])
    status = (PlanStatus.COMPLETED,) * rows
    return Plans(empty, empty, costs, costs, status, counts, torch.tensor(trace), torch.tensor(spent))


def test_a_curve_holds_the_best_cost_that_was_known_when_a_share_was_spent() -> None:
    curve = cost_curve(plans([[8.0, 4.0, 1.0]], [[0, 16, 32]]))[0]
    assert curve.tolist() == [8.0] * 16 + [4.0] * 16 + [1.0]


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1, width=32)), min_size=1, max_size=30), st.integers(0, 20))
def test_rows_that_stay_in_a_batch_change_nothing(checks: list[tuple[int, float]], more: int) -> None:
    spent = np.cumsum([steps for steps, _ in checks]).tolist()
    trace = (100 - np.cumsum([fall for _, fall in checks])).tolist()
    alone = cost_curve(plans([trace], [spent]))
    in_batch = cost_curve(plans([trace + [trace[-1]] * more], [spent + [spent[-1]] * more]))
    assert alone.shape == (1, COST_SAMPLES)
    assert np.array_equal(alone, in_batch)
    assert np.all(np.diff(alone[0]) <= 0)
    assert alone[0, -1] == np.float32(trace[-1])


@given(st.integers(1, 400))
def test_distances_are_kept_from_the_first_to_the_last_step(horizon: int) -> None:
    times = distance_times(horizon)
    assert (times[0], times[-1]) == (0, horizon)
    assert len(times) == min(horizon + 1, MOST_DISTANCES)
    gaps = np.diff(times)
    assert gaps.max() - gaps.min() <= 1


def test_values_that_are_not_finite_are_none() -> None:
    assert sampled(np.array([1.0, math.nan, math.inf, 2.0])) == (1.0, None, None, 2.0)
