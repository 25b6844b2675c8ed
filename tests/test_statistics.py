"""The statistics of reports against independent references, and against simulated sweeps whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, trim_mean
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from sweeps.bootstrap import interquartile_interval, interquartile_mean, mean_interval, stratified_mean_interval
from sweeps.comparison import LEVEL
from sweeps.statistics import Paired, adjusted, paired, wilson

SWEEPS = 2000


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_is_statsmodels(case: tuple[int, int]) -> None:
    assert wilson(*case) == pytest.approx(proportion_confint(*case, method="wilson"), abs=1e-12)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemars_test_is_statsmodels(a: int, b: int) -> None:
    assert Paired(100, a, b).p_value == pytest.approx(mcnemar([[10, a], [b, 10]], exact=True).pvalue, abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_adjusted_p_values_are_statsmodels(p_values: list[float]) -> None:
    assert adjusted(p_values) == pytest.approx(multipletests(p_values, method="fdr_bh")[1].tolist(), abs=1e-12)


def test_the_interval_of_a_difference_is_the_hand_worked_one() -> None:
    # Bonett and Price (2012): with 8 and 2 of 50 pairs, p12 = 9/52 and p21 = 3/52.
    low, high = Paired(50, 8, 2).interval
    half = 1.959963984540054 * ((9 / 52 + 3 / 52 - (6 / 52) ** 2) / 52) ** 0.5
    assert (low, high) == pytest.approx((6 / 52 - half, 6 / 52 + half), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(8, 60), st.integers(0, 1000))
def test_the_bootstrap_interval_of_a_mean_is_scipys(n: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=n)
    reference = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=seed).confidence_interval
    scale = values.std() / n**0.5
    assert mean_interval(values, resamples=20_000) == pytest.approx(tuple(reference), abs=0.12 * scale)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=50))
def test_the_interquartile_mean_is_scipys_trimmed_mean(values: list[float]) -> None:
    found = interquartile_mean([np.array(values)])
    assert found == pytest.approx(trim_mean(values, 0.25), abs=1e-9)


def test_too_few_values_have_no_interval() -> None:
    few, enough = np.arange(4.0), np.arange(5.0)
    assert mean_interval(few) is None
    assert interquartile_interval([enough, few]) is None
    assert stratified_mean_interval([enough, few]) is None
    assert mean_interval(enough) is not None


@pytest.mark.parametrize("n", [32, 64])
@pytest.mark.parametrize(
    ("a", "b"), [(0.5, 5), (5, 0.5), (0.3, 0.3), (1, 1)], ids=["near 0", "near 1", "both ends", "anywhere"]
)
def test_intervals_of_rates_cover_as_often_as_they_say(n: int, a: float, b: float) -> None:
    random = np.random.default_rng(0)
    truths = random.beta(a, b, SWEEPS)
    intervals = [wilson(int(k), n) for k in random.binomial(n, truths)]
    covered = np.mean([low <= truth <= high for (low, high), truth in zip(intervals, truths, strict=True)])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("n", [32, 64])
@pytest.mark.parametrize("edges", [False, True], ids=["anywhere", "near 0 and 1"])
def test_intervals_of_paired_differences_cover_as_often_as_they_say(n: int, edges: bool) -> None:
    """Half of the sweeps have problems that are hard for both planners, half have planners with nothing in common."""
    random = np.random.default_rng(1)
    covered = 0
    for sweep in range(SWEEPS):
        rates = random.beta(0.5, 0.5, 2) if edges else random.random(2)
        hard = random.random(n)
        won = hard < rates[0], (hard if sweep % 2 else random.random(n)) < rates[1]
        low, high = paired((np.arange(n), won[0]), (np.arange(n), won[1])).interval
        covered += low <= rates[0] - rates[1] <= high
    assert 0.93 <= covered / SWEEPS <= 0.97


def test_intervals_of_progress_cover_as_often_as_they_say() -> None:
    random, covered = np.random.default_rng(2), 0
    for _ in range(SWEEPS):
        gaps = random.beta(0.5, 0.3, 64) - random.beta(0.5, 0.5, 64)
        low, high = mean_interval(gaps) or (0.0, 0.0)
        covered += low <= 0.5 / 0.8 - 0.5 <= high
    assert 0.93 <= covered / SWEEPS <= 0.97


def test_intervals_over_settings_cover_as_often_as_they_say() -> None:
    random, covered = np.random.default_rng(3), {"mean": 0, "interquartile": 0}
    sweeps, shapes = 400, ((0.5, 0.3), (2, 2), (3, 1), (1, 3))
    population = [random.beta(*shape, 100_000) for shape in shapes]
    truths = {"mean": np.mean([a / (a + b) for a, b in shapes]), "interquartile": interquartile_mean(population)}
    for _ in range(sweeps):
        strata = [random.beta(*shape, 32) for shape in shapes]
        for name, found in (
            ("mean", stratified_mean_interval(strata, 500)),
            ("interquartile", interquartile_interval(strata, 500)),
        ):
            low, high = found or (0.0, 0.0)
            covered[name] += low <= truths[name] <= high
    # 400 sweeps know a share of 0.95 to within 0.022 (two standard errors).
    assert all(0.92 <= count / sweeps <= 0.98 for count in covered.values()), covered


def test_false_discoveries_are_as_rare_as_said_where_some_differences_are_real() -> None:
    """Of 20 comparisons 5 are real; of those called real, the false ones are on average below the level."""
    random, shares = np.random.default_rng(4), []
    for _ in range(SWEEPS):
        real = np.arange(20) < 5
        first = random.binomial(64, np.where(real, 0.25, 0.1))
        second = random.binomial(64 - first, np.where(real, 0.03, 0.1 / 0.9))
        q_values = np.array(adjusted([Paired(64, int(a), int(b)).p_value for a, b in zip(first, second, strict=True)]))
        called = q_values <= LEVEL
        shares.append((called & ~real).sum() / max(1, called.sum()))
    assert np.mean(shares) <= LEVEL
