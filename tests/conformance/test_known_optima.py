"""Every planner finds the known optimum of every analytic world, in both precisions, as near as its kind can."""

from __future__ import annotations

import pytest
import torch

from planners import PLANNERS, Scalar, make_planner
from planners.testing.planners import AS_OURS
from tests.support.optima import OPTIMA, from_rest_to_rest
from world_models.models.analytic import DoubleIntegrator

BUDGETS: dict[str, dict[str, Scalar]] = {
    "grasp": {"iterations": 40, "sync_every": 20, "sync_steps": 40, "sync_lr": 0.1},
    "gd": {"iterations": 80, "lr": 0.2},
    "cem": {"iterations": 40, "samples": 150, "elites": 15},
    "icem": {"iterations": 40, "samples": 150, "elites": 15},
    "mppi": {"iterations": 40, "samples": 100},
    "latco": {"iterations": 80, "lr_states": 0.1, "lr_actions": 0.1},
    "random_shooting": {"iterations": 20, "samples": 100},
    "cem_swm": {"iterations": 40, "samples": 150, "elites": 15, **AS_OURS},
    "cem_dino": {"iterations": 40, "samples": 150, "elites": 15, **AS_OURS},
    "gd_swm": {"iterations": 80, "samples": 10, "lr": 0.2, **AS_OURS},
    "gd_dino": {
        "iterations": 120,
        "optimizer": "adamw",
        "lr": 0.2,
        "weight_decay": 0.0,
        "first_std": 0.1,
        "noise": 0.0,
        **AS_OURS,
    },
    "grasp_author": {"iterations": 60, "lr_actions": 0.01, "sync_every": 20, "sync_steps": 40, "sync_lr": 0.1, **AS_OURS},
}
NEAR = {"grasp": 2e-3, "gd": 2e-3, "cem": 2e-2, "icem": 5e-3, "mppi": 5e-3, "latco": 1e-2, "random_shooting": 0.1}
NEAR |= {"cem_swm": 2e-2, "cem_dino": 2e-2, "gd_swm": 5e-3, "gd_dino": 5e-3, "grasp_author": 2e-3}
"""Largest share of the way from the null plan's cost to the optimum that may remain, in the worst row of any world."""
WITH_EFFORT = {"grasp": 5e-3, "gd": 2e-3, "cem": 0.1, "icem": 0.1, "mppi": 0.1, "latco": 0.1, "random_shooting": 1.0}
WITH_EFFORT |= {"cem_swm": 0.1, "cem_dino": 0.1, "gd_swm": 5e-3, "gd_dino": 5e-3, "grasp_author": 1e-2}
"""The same where actions have a cost and bounds are far: a valley of 12 dimensions, in which random plans only lose."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("world", sorted(OPTIMA))
@pytest.mark.parametrize("name", sorted(PLANNERS))
def test_known_optimum_is_reached(name: str, world: str, dtype: torch.dtype) -> None:
    known = OPTIMA[world](dtype)
    done = make_planner(name, BUDGETS[name]).plan(known.model, known.problems, [1, 2, 3])
    left = (done.cost - known.optimum) / (done.trace[:, 0] - known.optimum)
    assert left.max() <= (WITH_EFFORT if world == "with_effort" else NEAR)[name]
    assert left.min() > -1e-4, "below the optimum would be a wrong cost, or a bound that does not hold"


@pytest.mark.parametrize("name", sorted(set(PLANNERS) - {"random_shooting"}))
def test_the_only_plan_that_reaches_is_found(name: str) -> None:
    """The farthest reach from rest to rest: full thrust, then full brake. A little less in the middle costs next to nothing."""
    known = from_rest_to_rest(torch.float64, 1.0)
    assert isinstance(known.model, DoubleIntegrator)
    done = make_planner(name, BUDGETS[name]).plan(known.model, known.problems.rows(slice(0, 2)), [1, 2])
    thrust = known.model.bang_bang(6)
    missing = (done.actions - torch.stack([thrust, -thrust])).abs()
    assert missing[:, [0, 1, -2, -1]].max() < 0.1
    assert missing.mean() < 0.25
