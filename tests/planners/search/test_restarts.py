"""Restarts: several rows per problem in one batch equal as many separate runs, of which the best is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from planners import PLANNERS, PlanStatus
from planners.search.attempts import attempt_seed, restart_seed
from tests.support.planning import WORLDS, Counting, plan, problems_for, take
from world_models.base import Context

F64 = torch.float64
every_planner = pytest.mark.parametrize("name", sorted(PLANNERS))


@every_planner
@pytest.mark.parametrize("world", ["pendulums", "patches"])
def test_the_best_of_separate_runs_is_kept(name: str, world: str) -> None:
    model = Counting(WORLDS[world](F64))
    problems = problems_for(model)
    restarted = plan(name, model, problems, [1, 2, 3], restarts=3)
    assert restarted.evaluations.sum() == model.count
    apart = [plan(name, model, problems, [restart_seed(seed, r) for seed in (1, 2, 3)]) for r in range(3)]
    costs = torch.stack([one.cost for one in apart])
    best = costs.argmin(0)
    torch.testing.assert_close(restarted.cost, costs.amin(0), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(restarted.trace, torch.stack([one.trace for one in apart]).amin(0), rtol=1e-9, atol=1e-12)
    for row, r in enumerate(best.tolist()):
        torch.testing.assert_close(restarted.actions[row], apart[r].actions[row], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(restarted.last_cost[row], apart[r].last_cost[row], rtol=1e-9, atol=1e-9)
    assert len(set(best.tolist())) > 1 or (costs.amin(0) < costs[0]).any(), "restarts are worth something here"


def test_seeds_of_restarts_and_attempts_never_meet() -> None:
    own = [attempt_seed(seed, attempt) for seed in range(40) for attempt in range(3)]
    assert len({restart_seed(seed, restart) for seed in own for restart in range(4)}) == 40 * 3 * 4
    assert restart_seed(5, 0) == 5


@every_planner
def test_rows_stay_independent_with_restarts(name: str) -> None:
    model = WORLDS["pendulums"](F64)
    problems, seeds, order = problems_for(model, batch=4), [7, 8, 9, 10], [2, 0, 3, 1]
    together = plan(name, model, problems, seeds, restarts=2)
    permuted = plan(name, model, take(problems, order), [seeds[row] for row in order], restarts=2)
    torch.testing.assert_close(permuted.actions, together.actions[order], rtol=1e-9, atol=1e-9)
    alone = plan(name, model, take(problems, [1]), [8], restarts=2)
    torch.testing.assert_close(alone.actions[0], together.actions[1], rtol=1e-9, atol=1e-9)


def test_a_problem_ends_as_soon_as_one_of_its_restarts_reaches_the_goal() -> None:
    model = Counting(WORLDS["pendulums"](F64))
    problems = problems_for(model)
    full = plan("cem", model, problems, [1, 2, 3], restarts=4)
    middle = full.trace[:, 6].clone()
    model.calls.clear()
    done = plan("cem", model, problems, [1, 2, 3], restarts=4, finish_cost=middle)
    assert done.status == (PlanStatus.REACHED,) * 3
    assert (done.cost <= middle * (1 + 1e-9)).all()
    assert (done.evaluations < 0.75 * full.evaluations).all()
    assert model.count == done.evaluations.sum()


def test_a_broken_problem_stays_broken_over_all_its_restarts() -> None:
    model = WORLDS["mlp"](F64)
    problems = problems_for(model)
    broken = problems.context.states.clone()
    broken[2] = torch.nan
    problems = replace(problems, context=Context(broken, problems.context.actions))
    done = plan("cem", model, problems, [1, 2, 3], restarts=3)
    assert done.status == (PlanStatus.COMPLETED, PlanStatus.COMPLETED, PlanStatus.NON_FINITE)
    assert torch.isfinite(done.actions).all()
