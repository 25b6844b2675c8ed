"""Wilson's interval is that of scipy; how often it covers the truth is in tests/sweeps/analysis/test_statistics.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from orchestrator.evaluation.wilson_interval import wilson


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_is_scipys(case: tuple[int, int]) -> None:
    expected = binomtest(*case).proportion_ci(0.95, "wilson")
    assert wilson(*case) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_without_trials_nothing_is_known() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
