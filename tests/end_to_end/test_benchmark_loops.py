"""The comparison of two loops: equal ones, nearly equal elites that change places, and differences without such a reason."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.loops.compare import Loop, Plan, compared

COSTS = torch.tensor([4.0, 3.0, 2.0, 1.0, 2.0000001], dtype=torch.float64)
ELITES = [torch.tensor([3, 2])]


def loop(costs: torch.Tensor, action: float, success: bool = True) -> Loop:
    return Loop(success, np.full((3, 2), action), [Plan([costs], ELITES)])


def test_equal_loops_are_equal() -> None:
    report = compared({0: loop(COSTS, 1.0)}, {0: loop(COSTS * (1 + 1e-7), 1.0 + 1e-6, success=False)})
    assert (report.equal_actions, report.steps, report.verdicts_differ_at_equal_actions) == (1, 3, [0])
    assert report.largest_equal == pytest.approx(1e-6)
    assert report.first_iteration_cost == pytest.approx(1e-7, rel=1e-3)
    assert report.first_iteration_costs_beyond == 0


@pytest.mark.parametrize(
    ("change", "kind"),
    [([0, 0, 3e-7, 0, 0], "swapped"), ([0, -2.5, 0, 0, 0], "unexplained"), ([0, 0, 0, 1e-3, 0], "grown")],
)
def test_actions_that_differ_are_traced_to_the_elites(change: list[float], kind: str) -> None:
    report = compared({7: loop(COSTS, 1.0)}, {7: loop(COSTS + torch.tensor(change), 2.0)})
    assert report.equal_actions == 0
    assert [name for name in ("swapped", "grown", "unexplained") if getattr(report, name)] == [kind]
    assert "plan 1, iteration 1" in getattr(report, kind)[7]
