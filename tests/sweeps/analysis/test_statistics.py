"""The statistics of reports against independent references, and against simulated sweeps with a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, bootstrap, norm, t, trim_mean
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from orchestrator.evaluation.wilson_interval import wilson
from sweeps.analysis.bootstrap import interquartile_interval, interquartile_mean, mean_interval
from sweeps.analysis.comparison import LEVEL
from sweeps.analysis.intervals import Paired, Rate, adjusted, mean_of_rates, paired

SWEEPS = 2000


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


def test_the_interval_of_a_mean_of_rates_is_the_hand_worked_one() -> None:
    # Price and Bonett (2004): 9 of 10 and 3 of 20, a success and a failure (2 / 2) more of each.
    low, high = mean_of_rates([Rate(9, 10), Rate(3, 20)])
    centre = (10 / 12 + 4 / 22) / 2
    half = 1.959963984540054 / 2 * (10 / 12 * 2 / 12 / 12 + 4 / 22 * 18 / 22 / 22) ** 0.5
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=1e-12)
    # Of one rate it is Agresti and Coull's with two successes and two failures more.
    assert mean_of_rates([Rate(7, 10)])[0] == pytest.approx(9 / 14 - 1.959963984540054 * (9 / 14 * 5 / 14 / 14) ** 0.5)
    assert mean_of_rates([Rate(9, 10), Rate(0, 0)]) == (0.0, 1.0)


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), min_size=2, max_size=30))
def test_the_interval_of_a_mean_of_rates_has_the_mean_inside(cases: list[tuple[int, float]]) -> None:
    rates = [Rate(round(share * trials), trials) for trials, share in cases]
    low, high = mean_of_rates(rates)
    assert 0.0 <= low < high <= 1.0
    if len({rate.trials for rate in rates}) == 1:
        assert low <= np.mean([rate.value or 0.0 for rate in rates]) <= high


@settings(max_examples=20, deadline=None)
@given(st.integers(16, 60), st.integers(0, 1000))
def test_the_bootstrap_interval_of_a_mean_is_scipys(n: int, seed: int) -> None:
    """Scipy's percentiles at the level that Hesterberg (2015) gives for so few values."""
    values = np.random.default_rng(seed).normal(size=n)
    level = 1 - 2 * norm.cdf((n / (n - 1)) ** 0.5 * t.ppf(0.025, n - 1))
    reference = bootstrap(
        (values,), np.mean, n_resamples=20_000, confidence_level=level, method="percentile", rng=seed
    ).confidence_interval
    scale = values.std() / n**0.5
    assert mean_interval(values, resamples=20_000) == pytest.approx(tuple(reference), abs=0.12 * scale)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=50))
def test_the_interquartile_mean_is_scipys_trimmed_mean(values: list[float]) -> None:
    found = interquartile_mean([np.array(values)])
    assert found == pytest.approx(trim_mean(values, 0.25), abs=1e-9)


def test_too_few_values_have_no_interval() -> None:
    few, enough = np.arange(4.0), np.arange(5.0)
    assert interquartile_interval([enough, few]) is None
    assert interquartile_interval([enough, enough]) is not None
    assert mean_interval(np.arange(15.0)) is None
    assert mean_interval(np.arange(16.0)) is not None


@pytest.mark.parametrize("n", [8, 32, 64])
@pytest.mark.parametrize(
    ("a", "b"), [(0.5, 5), (5, 0.5), (0.3, 0.3), (1, 1)], ids=["near 0", "near 1", "both ends", "anywhere"]
)
def test_intervals_of_rates_cover_as_often_as_they_say(n: int, a: float, b: float) -> None:
    random = np.random.default_rng(0)
    truths = random.beta(a, b, SWEEPS)
    intervals = [wilson(int(k), n) for k in random.binomial(n, truths)]
    covered = np.mean([low <= truth <= high for (low, high), truth in zip(intervals, truths, strict=True)])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("n", [8, 32, 64])
@pytest.mark.parametrize("successes", [(0, 0.5), (0.5, 1), (1, 2), (2, 4)], ids=lambda window: f"{window[0]} to {window[1]}")
def test_intervals_of_rates_cover_as_often_as_they_say_close_to_0(n: int, successes: tuple[float, float]) -> None:
    """Exact coverage over rates that give the stated number of successes on average; rates close to 1 are the mirror image.

    For a single rate the coverage of any deterministic interval jumps up and down with the rate (Brown, Cai and DasGupta 2001).
    """
    rates = np.linspace(successes[0] / n, successes[1] / n, 2001)[1:]
    low, high = np.array([wilson(k, n) for k in range(n + 1)]).T
    inside = (low <= rates[:, None]) & (rates[:, None] <= high)
    covered = (binom.pmf(np.arange(n + 1), n, rates[:, None]) * inside).sum(1)
    assert 0.93 <= covered.mean() <= 0.97
    assert covered.min() >= 0.83


@pytest.mark.parametrize("n", [32, 64])
@pytest.mark.parametrize("edges", [False, True], ids=["anywhere", "near 0 and 1"])
def test_intervals_of_paired_differences_cover_as_often_as_they_say(n: int, edges: bool) -> None:
    """In half of the sweeps problems are equally hard for both planners; in the other half the planners are independent."""
    covered = paired_coverage(n, edges)
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("edges", [False, True], ids=["anywhere", "near 0 and 1"])
def test_intervals_of_eight_pairs_cover_rather_more(edges: bool) -> None:
    assert 0.93 <= paired_coverage(8, edges) <= 0.99


def paired_coverage(n: int, edges: bool) -> float:
    random = np.random.default_rng(1)
    covered = 0
    for sweep in range(SWEEPS):
        rates = random.beta(0.5, 0.5, 2) if edges else random.random(2)
        hard = random.random(n)
        won = hard < rates[0], (hard if sweep % 2 else random.random(n)) < rates[1]
        low, high = paired((np.arange(n), won[0]), (np.arange(n), won[1])).interval
        covered += low <= rates[0] - rates[1] <= high
    return covered / SWEEPS


@pytest.mark.parametrize("n", [8, 32, 64])
def test_where_hardly_any_pair_disagrees_the_interval_covers_more_than_it_says(n: int) -> None:
    """Exact coverage for up to two pairs of each kind on average: never less than 0.93, mostly more than 0.97."""
    cells = [(a, b) for a in range(n + 1) for b in range(n + 1 - a)]
    low, high = np.array([Paired(n, a, b).interval for a, b in cells]).T
    a, b = np.array(cells).T
    for p, q in np.random.default_rng(0).random((200, 2)) * 2 / n:
        chance = binom.pmf(a, n, p) * binom.pmf(b, n - a, q / (1 - p))
        assert chance[(low <= p - q) & (p - q <= high)].sum() >= 0.93


@pytest.mark.parametrize("n", [16, 64])
def test_intervals_of_progress_cover_as_often_as_they_say(n: int) -> None:
    random, covered = np.random.default_rng(2), 0
    for _ in range(SWEEPS):
        gaps = random.beta(0.5, 0.3, n) - random.beta(0.5, 0.5, n)
        low, high = mean_interval(gaps) or (0.0, 0.0)
        covered += low <= 0.5 / 0.8 - 0.5 <= high
    assert 0.93 <= covered / SWEEPS <= 0.97


@pytest.mark.parametrize("n", [8, 64])
@pytest.mark.parametrize("settings", [2, 6])
@pytest.mark.parametrize(("a", "b"), [(20, 1), (0.5, 0.5), (1, 1)], ids=["near 1", "both ends", "anywhere"])
def test_intervals_of_success_over_settings_cover_as_often_as_they_say(n: int, settings: int, a: float, b: float) -> None:
    random = np.random.default_rng(5)
    truths = random.beta(a, b, (SWEEPS, settings))
    intervals = [mean_of_rates([Rate(int(k), n) for k in counts]) for counts in random.binomial(n, truths)]
    covered = np.mean([low <= truth.mean() <= high for (low, high), truth in zip(intervals, truths, strict=True)])
    assert 0.93 <= covered <= 0.975


@pytest.mark.parametrize("n", [8, 32])
def test_intervals_of_progress_over_settings_cover_as_often_as_they_say(n: int) -> None:
    random, covered, shapes = np.random.default_rng(3), 0, ((0.5, 0.3), (2, 2), (3, 1), (1, 3))
    truth = interquartile_mean([random.beta(*shape, 200_000) for shape in shapes])
    for _ in range(SWEEPS):
        low, high = interquartile_interval([random.beta(*shape, n) for shape in shapes], 400) or (0.0, 0.0)
        covered += low <= truth <= high
    assert 0.93 <= covered / SWEEPS <= 0.97


def test_false_discoveries_are_as_rare_as_stated_where_some_differences_are_real() -> None:
    """5 of 20 differences are real; among those called real, the share of false ones is on average below the level."""
    random, shares = np.random.default_rng(4), []
    for _ in range(SWEEPS):
        real = np.arange(20) < 5
        first = random.binomial(64, np.where(real, 0.25, 0.1))
        second = random.binomial(64 - first, np.where(real, 0.03, 0.1 / 0.9))
        q_values = np.array(adjusted([Paired(64, int(a), int(b)).p_value for a, b in zip(first, second, strict=True)]))
        called = q_values <= LEVEL
        shares.append((called & ~real).sum() / max(1, called.sum()))
    assert np.mean(shares) <= LEVEL
