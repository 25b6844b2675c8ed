"""Own rates beside published ones: intervals against a published example, verdicts, and figures that name what exists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.analysis.intervals import Rate
from sweeps.config.files import groups
from sweeps.reproduce.comparison import Reproduced, Verdict, cells_of
from sweeps.reproduce.published import FIGURES, Figure, figures_of
from world_models.adapters.kinds import MODULES
from world_models.tasks import make_task


def reproduced(published: tuple[int, int], own: tuple[int, int]) -> Reproduced:
    successes, trials = published
    return Reproduced(Figure("lewm", "lewm", "wall", "cem", successes / trials, trials, "a test"), Rate(*own))


def test_the_interval_is_newcombes() -> None:
    low, high = reproduced((48, 80), (56, 70)).interval
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5), "example a of Newcombe (1998), method 10"


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_intervals_hold_the_difference_and_turn_with_it(one: int, other: int, data: st.DataObject) -> None:
    theirs, own = (data.draw(st.integers(0, one)), one), (data.draw(st.integers(0, other)), other)
    there, back = reproduced(theirs, own), reproduced(own, theirs)
    assert there.difference is not None
    assert there.interval[0] <= there.difference + 1e-12
    assert there.interval[1] >= there.difference - 1e-12
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    assert there.p_value == pytest.approx(back.p_value)


@pytest.mark.parametrize(
    ("published", "own", "verdict"),
    [
        ((48, 50), (47, 50), Verdict.AGREES),
        ((48, 50), (1, 50), Verdict.LOWER),
        ((1, 50), (48, 50), Verdict.HIGHER),
        ((48, 50), (0, 2), Verdict.LOWER),
        ((25, 50), (1, 2), Verdict.AGREES),
        ((48, 50), (0, 0), Verdict.UNKNOWN),
    ],
)
def test_verdicts(published: tuple[int, int], own: tuple[int, int], verdict: Verdict) -> None:
    found = reproduced(published, own)
    assert found.verdict is verdict
    assert verdict.value in cells_of(found)


def test_every_figure_names_a_protocol_a_task_a_planner_and_a_kind_that_exist() -> None:
    known = groups()
    for figure in FIGURES:
        assert figure.protocol in known["protocol"]
        assert figure.planner in known["planner"]
        assert make_task(figure.task).name == figure.task
        assert figure.kind in (*MODULES, "")
        assert 0 <= figure.rate <= 1


def test_the_floor_comes_last() -> None:
    found = figures_of("lewm", "lewm", "push_t_upstream")
    assert [figure.planner for figure in found] == ["cem_swm", "random_actions"]
    assert figures_of("lewm", "tdmpc2", "push_t_upstream") == found[1:]
