"""Verdicts of `grasp diagnose` follow their rules."""

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from orchestrator.core.cell import Named, Point
from planners.diagnostics.brittleness import Brittleness
from planners.diagnostics.curvature import Curvature
from planners.diagnostics.growth import growth
from sweeps.analysis.comparison import Comparison
from sweeps.analysis.intervals import Paired
from sweeps.analysis.point_cells import PointCells
from sweeps.analysis.rows import Row
from sweeps.config.grid import Entry
from sweeps.diagnose.claims import (
    Verdict,
    ablation_claim,
    brittle_claim,
    control_claim,
    curvature_claims,
    gradient_claims,
    is_exponential,
    is_level,
    overall,
)
from sweeps.diagnose.diagnose import claims_table
from sweeps.diagnose.measure import (
    CONTROL_GAIN,
    LIFTED,
    RADII,
    SHOOTING,
    BrittleRow,
    CurvatureRow,
    GradientRow,
    control_curvature,
    measure_control,
)
from sweeps.diagnose.setup import BASE

F64 = torch.float64


def curvature_rows(shooting, lifted):
    """Rows whose values are functions of T, slightly different for each problem."""
    spread = 1 + 0.01 * torch.arange(6, dtype=F64)
    rows = []
    for steps in (5, 10, 15, 20, 30, 40):
        for objective, value in ((SHOOTING, shooting), (LIFTED, lifted)):
            values = value(steps) * spread
            rows.append(CurvatureRow(objective, "here", steps, steps, Curvature(values, values), values))
        rows.append(measure_control(steps, steps))
    return rows


def verdicts(claims):
    return {claim.key: claim.verdict for claim in claims}


def test_curvature_verdicts_follow_their_rules():
    claimed = verdicts(curvature_claims(curvature_rows(lambda T: 1.3**T, lambda T: 2.0)))
    assert set(claimed.values()) == {Verdict.SHOWN}
    refuted = verdicts(curvature_claims(curvature_rows(lambda T: T**1.5, lambda T: 1.2**T)))
    assert set(refuted.values()) == {Verdict.NOT_SHOWN}
    small = verdicts(curvature_claims(curvature_rows(lambda T: 1.001**T, lambda T: T**2.0)))
    assert small["shooting_curvature"] == Verdict.NOT_SHOWN
    assert small["lifted_curvature"] == Verdict.SHOWN


def test_condition_numbers_that_were_not_measured_make_no_claim():
    rows = curvature_rows(lambda T: 1.3**T, lambda T: 2.0)
    unknown = [CurvatureRow(r.objective, r.iterate, r.horizon, r.steps, r.values, r.condition * torch.nan) for r in rows]
    assert set(verdicts(curvature_claims(unknown))) == {"shooting_curvature", "lifted_curvature"}


def test_an_exponential_is_not_a_power_and_the_other_way_round():
    lengths, T = (5, 10, 20, 40), torch.tensor([5.0, 10, 20, 40], dtype=F64)
    for values, exponential, level in (((0.2 * T).exp(), True, False), (T**2, False, True), (T**0, False, True)):
        found = growth(lengths, values.expand(4, -1))
        assert (is_exponential(found), is_level(found)) == (exponential, level)


def test_the_instrument_is_checked_in_closed_form():
    rows = [measure_control(steps, steps) for steps in (2, 10, 20, 40)]
    assert control_curvature(2) == pytest.approx(1 + CONTROL_GAIN**2)
    assert control_claim(rows).verdict == Verdict.PASSED
    broken = CurvatureRow(rows[3].objective, rows[3].iterate, 40, 39, rows[3].values, rows[3].condition)
    assert control_claim([*rows[:3], broken]).verdict == Verdict.FAILED


def test_gradient_verdicts_follow_their_rules():
    fading = 0.7 ** torch.arange(20, 0, -1, dtype=F64).expand(6, -1)
    level = torch.ones(6, 20, dtype=F64)
    rows = [GradientRow(SHOOTING, "here", 20, fading), GradientRow(LIFTED, "here", 20, level)]
    assert set(verdicts(gradient_claims(rows)).values()) == {Verdict.SHOWN}
    swapped = [GradientRow(SHOOTING, "here", 20, level), GradientRow(LIFTED, "here", 20, fading)]
    assert set(verdicts(gradient_claims(swapped)).values()) == {Verdict.NOT_SHOWN}
    mixed = verdicts(gradient_claims([*rows, GradientRow(SHOOTING, "there", 20, level)]))
    assert mixed["shooting_gradients"] == Verdict.PARTLY
    shorter = GradientRow(SHOOTING, "here", 10, level)
    assert verdicts(gradient_claims([*rows, shorter]))["shooting_gradients"] == Verdict.SHOWN
    assert overall([False, False]) == Verdict.NOT_SHOWN


def ablated(only_ablated: int, only_base: int, label: str = "no noise") -> Row:
    point = Point(Named("wall"), "wall", "0", Named("grasp"), 50)
    versus = Comparison(Paired(32, only_ablated, only_base), (16.0, 32), None, None)
    ran, solved, numbers = np.ones(32, bool), np.arange(32) < 20, np.ones(32)
    cells = PointCells(np.arange(32), ran, ~ran, solved, solved.astype(float), *[numbers] * 5)
    return Row(
        task="wall",
        model="wall",
        horizon=50,
        mode=point.mode,
        planner=label,
        unit="px",
        cells=cells,
        versus=versus,
        entry=Entry("wall", label, "px", point),
        reference=BASE,
        missing=0,
    )


@pytest.mark.parametrize(
    ("only_ablated", "only_base", "effort", "verdict"),
    [
        (0, 10, 1.0, Verdict.SHOWN),
        (10, 0, 1.0, Verdict.OPPOSITE),
        (3, 5, 1.0, Verdict.NOT_SHOWN),
        (3, 5, 1.5, Verdict.SHOWN),
        (10, 0, 1.5, Verdict.OPPOSITE),
    ],
)
def test_ablation_verdicts_are_paired_tests(only_ablated, only_base, effort, verdict):
    row = ablated(only_ablated, only_base)
    assert ablation_claim(row, row, torch.full((32,), effort)).verdict == verdict


def test_the_table_says_all_of_every_claim():
    claim = ablation_claim(ablated(0, 10), ablated(0, 10), torch.ones(32))
    stream = io.StringIO()
    Console(file=stream, width=150).print(claims_table([claim], "the wall"))
    said = " ".join(stream.getvalue().split())
    for words in ("no noise: lowers success", "20/32", "shown", "ablation.png"):
        assert words in said


def test_a_brittle_world_is_shown_by_half_of_its_problems_not_by_a_few():
    def row(shares):
        removed = torch.tensor(shares, dtype=F64).expand(len(RADII), -1)
        return BrittleRow(Brittleness(RADII, removed, removed, torch.zeros(*removed.shape, 2)), None)

    assert brittle_claim(row([0.95] * 16)).verdict == Verdict.SHOWN
    assert brittle_claim(row([0.95] * 6 + [0.1] * 10)).verdict == Verdict.NOT_SHOWN
    assert "cannot be set" in brittle_claim(row([0.1] * 4)).measured
