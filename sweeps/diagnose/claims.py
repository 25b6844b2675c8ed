"""Verdicts from measurements: each claim with the rule that decides it and what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from jaxtyping import Float
from torch import Tensor

from planners.diagnostics.gradients import early_over_late
from planners.diagnostics.growth import Growth, bootstrap_median, growth
from sweeps.analysis.intervals import Rate
from sweeps.analysis.rows import Row
from sweeps.diagnose.measure import CONTROL, LIFTED, RADII, SHOOTING, BrittleRow, CurvatureRow, GradientRow, control_curvature

TENTH = RADII.index(0.1)
"""Index of the perturbation that the claim on brittleness is about: 10 % of the distance to the goal."""

CERTAIN = 0.95
"""Share of the bootstrap resamples in which one kind of growth must fit better."""


class Verdict(Enum):
    """Whether the measurements show a claim."""

    SHOWN = "shown"
    PARTLY = "partly shown"
    NOT_SHOWN = "not shown"
    OPPOSITE = "the opposite"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True)
class Claim:
    """One line of the final table."""

    key: str
    """Short name for metrics."""
    statement: str
    rule: str
    measured: str
    verdict: Verdict
    figure: str
    """File name of the figure that shows it."""


def overall(by_iterate: Sequence[bool]) -> Verdict:
    """The verdict over several iterates: shown at all, at some or at none."""
    return Verdict.SHOWN if all(by_iterate) else Verdict.PARTLY if any(by_iterate) else Verdict.NOT_SHOWN


def growth_of(rows: Sequence[CurvatureRow], objective: str, value: Callable[[CurvatureRow], Tensor]) -> dict[str, Growth]:
    """Growth over plan lengths, by the name of the iterate."""
    selected = [row for row in rows if row.objective == objective]
    found = {}
    for iterate in dict.fromkeys(row.iterate for row in selected):
        mine = [row for row in selected if row.iterate == iterate]
        found[iterate] = growth(tuple(row.steps for row in mine), torch.stack([value(row).cpu() for row in mine], 1))
    return found


def is_exponential(found: Growth) -> bool:
    """Whether the growth is more than two-fold and an exponential fits better than a power in 95 % of the resamples."""
    return found.fold_interval[0] > 2 and found.exponential_share >= CERTAIN


def is_level(found: Growth) -> bool:
    """Whether the growth is at most two-fold or a power fits better in 95 % of the resamples."""
    return found.fold_interval[1] <= 2 or found.exponential_share <= 1 - CERTAIN


EXPONENTIAL_RULE = (
    "exponential: the value at the longest T is more than twice that at the shortest (lower end of its 95 % interval), and "
    "an exponential fits better than a power of T in 95 % of the resamples; partly: at some iterates only"
)
LEVEL_RULE = (
    "not exponential: the value at the longest T is at most twice that at the shortest (upper end of the interval), or a power "
    "of T fits better in 95 % of the resamples; partly: at some iterates only"
)


def curvature_claims(rows: Sequence[CurvatureRow]) -> list[Claim]:
    """Claims on the growth of the largest eigenvalue and of the condition number, in shooting and lifted."""
    figure = "curvature.png"
    claims = []
    for key, name, value in (
        ("curvature", "curvature", lambda row: row.values.gauss_newton),
        ("condition", "condition number", lambda row: row.condition.clamp_max(1e16)),
    ):
        if any(bool(value(row).isnan().any()) for row in rows):
            continue  # too many features for a dense matrix: nothing was measured
        shooting, lifted = growth_of(rows, SHOOTING, value), growth_of(rows, LIFTED, value)
        claims += [
            Claim(
                f"shooting_{key}",
                f"the {name} of shooting grows exponentially with T",
                EXPONENTIAL_RULE,
                _growth_words(shooting),
                overall([is_exponential(found) for found in shooting.values()]),
                figure,
            ),
            Claim(
                f"lifted_{key}",
                f"the {name} of the lifted objective does not grow exponentially with T",
                LEVEL_RULE,
                _growth_words(lifted),
                overall([is_level(found) for found in lifted.values()]),
                figure,
            ),
        ]
    return claims


def _growth_words(found: dict[str, Growth]) -> str:
    return "; ".join(
        f"{iterate}: {100 * g.rate:+.2g} % per step [{100 * g.rate_interval[0]:.2g}, {100 * g.rate_interval[1]:.2g}], "
        f"T^{g.power:.2f}, exponential fits better in {100 * g.exponential_share:.0f} %, {g.fold:.3g}-fold in all"
        for iterate, g in found.items()
    )


def control_claim(rows: Sequence[CurvatureRow]) -> Claim:
    """Check that the measurement shows exponential growth where it is known to be."""
    control = [row for row in rows if row.objective == CONTROL]
    errors = [abs(float(row.values.gauss_newton[0]) / control_curvature(row.steps) - 1) for row in control]
    found = growth_of(rows, CONTROL, lambda row: row.values.gauss_newton)
    ok = max(errors) < 1e-6
    return Claim(
        "control",
        "instrument check: a linear world that grows by 1.1 per step",
        "largest eigenvalues agree with the closed form to 1e-6",
        f"largest relative error {max(errors):.1e}; {_growth_words(found)}",
        Verdict.PASSED if ok else Verdict.FAILED,
        "curvature.png",
    )


def gradient_claims(rows: Sequence[GradientRow]) -> list[Claim]:
    """Claims on early against late gradients at the longest horizon."""
    longest = max(row.horizon for row in rows)
    verdicts: dict[str, list[bool]] = {SHOOTING: [], LIFTED: []}
    words: dict[str, list[str]] = {SHOOTING: [], LIFTED: []}
    for row in (row for row in rows if row.horizon == longest):
        ratio = early_over_late(row.norms).cpu()
        value, (low, high) = bootstrap_median(ratio)
        beyond = float((ratio.abs() > 1).double().mean())
        vanishes = high < -1 or low > 1
        verdicts[row.objective].append(vanishes if row.objective == SHOOTING else low >= -1 and high <= 1)
        words[row.objective].append(
            f"{row.iterate}: 10^{value:.2f} [{low:.2f}, {high:.2f}], more than ten-fold on {100 * beyond:.0f} % of the problems"
        )
    rule = (
        "early over late gradient (root mean square over the first and the last tenth of the steps), median over problems at "
    )
    rule += f"H = {longest}: "
    return [
        Claim(
            "shooting_gradients",
            "gradients to early actions vanish or explode in shooting",
            rule + "its 95 % bootstrap interval lies below 1/10 or above 10",
            "; ".join(words[SHOOTING]),
            overall(verdicts[SHOOTING]),
            "gradients.png",
        ),
        Claim(
            "grasp_gradients",
            "gradients to early actions neither vanish nor explode in GRASP",
            rule + "its 95 % bootstrap interval lies within 1/10 and 10",
            "; ".join(words[LIFTED]),
            overall(verdicts[LIFTED]),
            "gradients.png",
        ),
    ]


def brittle_claim(row: BrittleRow) -> Claim:
    """Claim on how many problems a perturbation of 10 % seems to solve."""
    removed = row.measured.removed[TENTH]
    half, most = (Rate(int((removed >= share).sum()), len(removed)) for share in (0.5, 0.9))
    true = "the simulator cannot be set to these states"
    if row.truly_removed is not None:
        known = row.truly_removed[TENTH]
        known = known[known.isfinite()]
        true = (
            f"in the simulator it really removes {100 * float(known.median()):.0f} %" if len(known) else "no such state exists"
        )
    return Claim(
        "brittle",
        "a small step along the state gradient seems to reach a far-away goal",
        "a perturbation of 10 % of ||g - s|| removes half of the predicted distance on at least half of the problems "
        "(lower end of Wilson's interval)",
        f">= 50 % removed on {_rate(half)}, >= 90 % on {_rate(most)}; median {100 * float(removed.median()):.0f} %, and {true}",
        Verdict.SHOWN if half.interval[0] >= 0.5 else Verdict.NOT_SHOWN,
        "brittleness.png",
    )


def ablation_claim(row: Row, base: Row, model_step_ratios: Float[Tensor, " pairs"], figure: str = "ablation.png") -> Claim:
    """Claim on a part taken away; `model_step_ratios` are its model steps over the base's, by problem."""
    assert row.versus is not None
    versus = row.versus.success
    difference = versus.difference or 0.0
    low, high = 1.0, 1.0
    median = 1.0
    if len(model_step_ratios):
        median, (low, high) = bootstrap_median(model_step_ratios)
    significant = versus.p_value < 0.05
    if significant and difference < 0:
        verdict = Verdict.SHOWN
    elif significant and difference > 0:
        verdict = Verdict.OPPOSITE
    else:
        verdict = Verdict.SHOWN if low > 1.1 else Verdict.NOT_SHOWN
    return Claim(
        f"ablation_{row.planner.replace(', ', '_').replace(' ', '_')}",
        f"{row.planner}: lowers success or takes more model steps",
        "paired success falls (McNemar's exact p < 0.05), or does not change while model steps per plan rise by 10 % "
        "(lower end of the median's bootstrap interval)",
        f"success {_rate(row.success)} against {_rate(base.success)}, difference {difference:+.2f} (p {versus.p_value:.3f}); "
        f"in the model {_share(row.in_model)} against {_share(base.in_model)}; "
        f"{_seconds(row)} against {_seconds(base)} s per plan, model steps {median:.2f}-fold [{low:.2f}, {high:.2f}]",
        verdict,
        figure,
    )


def _rate(rate: Rate) -> str:
    low, high = rate.interval
    return f"{rate.successes}/{rate.trials} [{low:.2f}, {high:.2f}]"


def _share(rate: Rate) -> str:
    return "-" if rate.value is None else f"{rate.value:.2f}"


def _seconds(row: Row) -> str:
    return "-" if row.plan_seconds is None or math.isnan(row.plan_seconds) else f"{row.plan_seconds:.2f}"
