"""Further attempts: only for rows that are not reached, never for the worse, and rows stay independent."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from planners import PlanStatus, make_planner
from planners.methods.grasp import GraspSearch
from planners.search.attempts import attempt_seed
from tests.support.planning import SETTINGS, WORLDS, plan, problems_for, take
from world_models.base import rollout

every_planner = pytest.mark.parametrize("name", sorted(SETTINGS))
F64 = torch.float64


def split(costs: Tensor) -> float:
    """A cost between those of the rows."""
    return float(costs.sort().values[:2].mean())


@every_planner
def test_reached_rows_are_left_alone_and_the_others_never_get_worse(name: str) -> None:
    model = WORLDS["pendulums"](F64)
    problems = problems_for(model, batch=4, steps=3)
    once = plan(name, model, problems, [1, 2, 3, 4])
    reached = split(once.cost)
    more = plan(name, model, problems, [1, 2, 3, 4], attempts=3, reached_cost=reached)
    left_alone = once.cost <= reached
    assert left_alone.any()
    assert not left_alone.all()
    torch.testing.assert_close(more.actions[left_alone], once.actions[left_alone], rtol=0, atol=0)
    assert (more.evaluations[left_alone] == once.evaluations[left_alone]).all()
    assert (more.evaluations[~left_alone] >= 2 * once.evaluations[~left_alone]).all()
    assert (more.cost <= once.cost).all()
    assert (more.trace.diff(dim=1) <= 0).all()
    torch.testing.assert_close(more.states, rollout(model, problems.context, more.actions))
    torch.testing.assert_close(more.cost, problems.goal_cost(more.states[:, -1], problems.goal))
    torch.testing.assert_close(more.trace[:, -1], more.cost, rtol=1e-9, atol=1e-12)


@every_planner
def test_a_cost_that_all_rows_reach_ends_after_one_attempt(name: str) -> None:
    model = WORLDS["mlp"](F64)
    problems = problems_for(model, steps=3)
    once = plan(name, model, problems, [1, 2, 3])
    more = plan(name, model, problems, [1, 2, 3], attempts=5, reached_cost=float(once.cost.max()))
    assert torch.equal(once.actions, more.actions)
    assert torch.equal(once.evaluations, more.evaluations)


@every_planner
def test_rows_are_independent_over_attempts(name: str) -> None:
    model = WORLDS["pendulums"](F64)
    problems, seeds, order = problems_for(model, batch=4, steps=3), [7, 8, 9, 10], [2, 0, 3, 1]
    reached = split(plan(name, model, problems, seeds).cost)
    settings = {"attempts": 3, "reached_cost": reached}
    together = plan(name, model, problems, seeds, **settings)
    permuted = plan(name, model, take(problems, order), [seeds[row] for row in order], **settings)
    torch.testing.assert_close(permuted.actions, together.actions[order], rtol=1e-9, atol=1e-9)
    for row in (0, 3):
        alone = plan(name, model, take(problems, [row]), [seeds[row]], **settings)
        torch.testing.assert_close(alone.actions[0], together.actions[row], rtol=1e-9, atol=1e-9)
        assert alone.evaluations[0] == together.evaluations[row]


def test_each_attempt_has_its_own_noise() -> None:
    model = WORLDS["pendulums"](F64)
    problems = problems_for(model, steps=3)
    first = plan("cem", model, problems, [1, 2, 3])
    second = plan("cem", model, problems, [attempt_seed(seed, 1) for seed in (1, 2, 3)])
    both = plan("cem", model, problems, [1, 2, 3], attempts=2)
    torch.testing.assert_close(both.cost, torch.minimum(first.cost, second.cost))
    assert attempt_seed(5, 0) == 5
    assert len({attempt_seed(seed, attempt) for seed in range(50) for attempt in range(4)}) == 200


def test_a_broken_row_is_tried_again_and_reported_when_it_stays_broken() -> None:
    model = WORLDS["mlp"](F64)
    problems = problems_for(model, steps=3)
    problems.context.states[1] = torch.nan
    done = plan("grasp", model, problems, [1, 2, 3], attempts=2)
    assert done.status == (PlanStatus.COMPLETED, PlanStatus.NON_FINITE, PlanStatus.COMPLETED)
    assert torch.isfinite(done.actions).all()


def test_progress_counts_all_attempts() -> None:
    model = WORLDS["mlp"](F64)
    seen: list[tuple[int, int]] = []
    planner = make_planner("gd", {**SETTINGS["gd"], "attempts": 2})
    planner.plan(model, problems_for(model), [1, 2, 3], lambda done, total: seen.append((done, total)))
    assert seen == [(done + 1, 24) for done in range(24)]


MIXED = {"iterations": [3, 14, 6, 9], "sync_every": [2, 5, 3, 4], "noise": [0.1, 0.2, 0.05, 0.3]}


@pytest.mark.parametrize(
    ("sync", "more"),
    [
        *((sync, more) for sync in ("gd", "cem", "newton") for more in ({}, {"restarts": 2})),
        ("gd", {"max_evaluations": 150}),
        ("newton", {"max_evaluations": 150}),
    ],
)
def test_rows_that_join_a_run_under_way_end_as_they_do_alone(sync: str, more: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[int] = []
    original = GraspSearch.join

    def spied(self: GraspSearch, others: GraspSearch) -> None:
        joined.append(len(others.actions))
        original(self, others)

    monkeypatch.setattr(GraspSearch, "join", spied)
    model = WORLDS["mlp"](F64)
    problems, seeds = problems_for(model, batch=4, steps=5), [7, 8, 9, 10]
    common = {"sync": sync, "sync_steps": 2, "final_sync_steps": 2, "noise_schedule": "linear", "attempts": 3, **more}
    by_row = {name: torch.tensor(values) for name, values in MIXED.items()}
    together = make_planner("grasp", {**common, **by_row}).plan(model, problems, seeds)
    assert joined, "nobody has joined"
    for row, seed in enumerate(seeds):
        own = {name: values[row] for name, values in MIXED.items()}
        alone = make_planner("grasp", {**common, **own}).plan(model, take(problems, [row]), [seed])
        for name in ("actions", "states", "cost", "last_cost"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(together, name)[row], rtol=1e-6, atol=1e-7)
        assert alone.evaluations[0] == together.evaluations[row]
        assert alone.status[0] == together.status[row]


def test_progress_of_rows_that_join_never_goes_back() -> None:
    model = WORLDS["mlp"](F64)
    seen: list[int] = []
    planner = make_planner("grasp", {"iterations": torch.tensor([2, 9, 4]), "sync_every": 2, "attempts": 3})
    planner.plan(model, problems_for(model), [1, 2, 3], lambda done, total: seen.append(done))
    assert seen == sorted(seen)
    assert seen[-1] <= 27
