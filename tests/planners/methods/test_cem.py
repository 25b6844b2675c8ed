"""CEM: reaches goals, keeps its mean among the samples, and does not depend on how rows are split into model calls."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from planners import CEM, CEMSettings, make_planner, objectives
from tests.support.planning import problems_for, small_mlp
from world_models.base import Context, rollout
from world_models.models.analytic import LinearQuadratic

F64 = torch.float64


@pytest.mark.parametrize("seed", range(3))
def test_reaches_the_goal_of_a_linear_world(seed: int) -> None:
    model = LinearQuadratic.random(seed, dtype=F64)
    problems = problems_for(model, batch=4, steps=5, bound=1.0)
    known = torch.rand(4, 5, 2, generator=torch.Generator().manual_seed(seed), dtype=F64) * 1.6 - 0.8
    problems = replace(problems, goal=rollout(model, problems.context, known)[:, -1])
    done = CEM(CEMSettings(iterations=60)).plan(model, problems, range(4))
    assert done.cost.max() < 1e-3


def test_the_mean_is_a_sample() -> None:
    """Standing still is optimal here and every draw is far worse: the initial mean stays the best plan."""
    model = LinearQuadratic(torch.eye(2, dtype=F64), torch.eye(2, dtype=F64))
    problems = problems_for(model, batch=1, bound=1.0)
    problems = replace(problems, context=Context.at(model, problems.goal))
    done = CEM(CEMSettings(iterations=3, samples=5, elites=1)).plan(model, problems, [0])
    assert done.cost.item() == 0
    assert torch.equal(done.actions, torch.zeros_like(done.actions))


@pytest.mark.parametrize("bound", ["_ROWS_PER_CALL", "_NUMBERS_PER_CALL"])
@pytest.mark.parametrize("name", ["cem", "gd", "grasp"])
def test_splitting_rows_into_calls_changes_nothing(monkeypatch: pytest.MonkeyPatch, bound: str, name: str) -> None:
    model = small_mlp(F64)
    problems = problems_for(model)
    planner = make_planner(name, {"iterations": 6} | ({"sync_every": 3, "sync_steps": 2} if name == "grasp" else {}))
    whole = planner.plan(model, problems, [1, 2, 3])
    monkeypatch.setattr(objectives, bound, {"cpu": 17})
    cut = planner.plan(model, problems, [1, 2, 3])
    torch.testing.assert_close(cut.actions, whole.actions, rtol=0, atol=1e-9)


def test_momentum_one_never_moves() -> None:
    model = small_mlp(F64)
    problems = problems_for(model)
    done = CEM(CEMSettings(iterations=5, samples=20, elites=4, momentum=1.0)).plan(model, problems, [1, 2, 3])
    torch.testing.assert_close(done.last_cost, done.trace[:, 0])


def test_min_std_keeps_exploring() -> None:
    """Without a floor the distribution collapses on the best of few samples; with one the search continues."""
    model = LinearQuadratic.random(0, dtype=F64)
    problems = problems_for(model, batch=4, bound=1.0)
    small = CEMSettings(iterations=60, samples=8, elites=2)
    collapsed = CEM(small).plan(model, problems, range(4))
    floored = CEM(replace(small, min_std=0.05)).plan(model, problems, range(4))
    assert floored.cost.mean() < collapsed.cost.mean()
