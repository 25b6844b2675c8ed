"""Promises of every planner on every world, in both precisions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from planners import PLANNERS, Planner, PlanStatus, full_settings, make_planner
from tests.support.planning import SETTINGS, WORLDS, Counting, plan, problems_for, small_mlp, take
from world_models.base import Context, rollout
from world_models.errors import UserError
from world_models.models.analytic import LinearQuadratic

DTYPES = (torch.float32, torch.float64)
every_planner = pytest.mark.parametrize("name", sorted(PLANNERS))
every_world = pytest.mark.parametrize("world", sorted(WORLDS))
both_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])


def tolerance(dtype: torch.dtype) -> float:
    return 1e-4 if dtype == torch.float32 else 1e-9


@every_planner
@every_world
@both_dtypes
def test_plan_is_the_best_rollout_seen_within_bounds(name: str, world: str, dtype: torch.dtype) -> None:
    model = WORLDS[world](dtype)
    problems = problems_for(model, steps=4)
    done = plan(name, model, problems, [1, 2, 3])
    assert isinstance(make_planner(name), Planner)
    assert done.actions.dtype == done.states.dtype == dtype
    assert (done.actions >= problems.low).all()
    assert (done.actions <= problems.high).all()
    assert done.status == (PlanStatus.COMPLETED,) * 3
    torch.testing.assert_close(done.states, rollout(model, problems.context, done.actions))
    torch.testing.assert_close(done.cost, problems.goal_cost(done.states[:, -1], problems.goal))
    assert (done.trace.diff(dim=1) <= 0).all()
    torch.testing.assert_close(done.trace[:, -1], done.cost, rtol=tolerance(dtype), atol=tolerance(dtype))
    assert (done.cost <= done.last_cost + tolerance(dtype)).all()
    improved = done.trace[:, -1] < done.trace[:, 0]
    slow = name in ("latco", "random_shooting")
    assert improved.any() if slow else improved.all(), "planning improves on the initial plan"


@every_planner
@pytest.mark.parametrize(
    ("world", "dtype"),
    [*((world, torch.float64) for world in sorted(WORLDS)), ("mlp", torch.float32), ("pendulums", torch.float32)],
)
def test_batch_equals_one_by_one_and_permutes(name: str, world: str, dtype: torch.dtype) -> None:
    model = WORLDS[world](dtype)
    problems, seeds, order = problems_for(model, batch=4, steps=4), [7, 8, 9, 10], [2, 0, 3, 1]
    together = plan(name, model, problems, seeds)
    close = {"rtol": tolerance(dtype), "atol": tolerance(dtype)}
    alone = plan(name, model, take(problems, [2]), seeds[2:3])
    torch.testing.assert_close(alone.actions[0], together.actions[2], **close)
    torch.testing.assert_close(alone.last_cost[0], together.last_cost[2], **close)
    assert alone.evaluations[0] == together.evaluations[2]
    permuted = plan(name, model, take(problems, order), [seeds[i] for i in order])
    torch.testing.assert_close(permuted.actions, together.actions[order], **close)


@every_planner
@every_world
def test_horizon_one(name: str, world: str) -> None:
    model = WORLDS[world](torch.float64)
    problems = problems_for(model, steps=1)
    done = plan(name, model, problems, [1, 2, 3])
    assert done.actions.shape == (3, 1, model.action_dim)
    assert (done.trace[:, -1] < done.trace[:, 0]).all()


@every_planner
def test_seed_fixes_the_plan(name: str) -> None:
    model = small_mlp(torch.float32)
    problems = problems_for(model, steps=4)
    one, same, other = (plan(name, model, problems, seeds) for seeds in ([1, 2, 3], [1, 2, 3], [1, 2, 4]))
    assert torch.equal(one.actions, same.actions)
    assert torch.equal(one.trace, same.trace)
    assert torch.equal(one.actions[:2], other.actions[:2]), "another row's seed changes nothing"
    assert not torch.equal(one.last_cost[2], other.last_cost[2])


@every_planner
def test_global_generator_has_no_effect_and_is_not_used(name: str) -> None:
    model = small_mlp(torch.float32)
    problems = problems_for(model, steps=4)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = plan(name, model, problems, [1, 2, 3])
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(plan(name, model, problems, [1, 2, 3]).actions, one.actions)


@every_planner
def test_bounds_bind_where_they_should(name: str) -> None:
    """An integrator whose goal is out of reach: the best plan is the upper bound throughout."""
    one = torch.eye(1, dtype=torch.float64)
    model = LinearQuadratic(one, one)
    problems = replace(
        problems_for(model, batch=1, bound=0.25),
        context=Context.at(model, torch.zeros(1, 1, dtype=torch.float64)),
        goal=torch.full((1, 1), 9.0, dtype=torch.float64),
    )
    done = plan(name, model, problems, [0], iterations=60, **({"samples": 100} if "samples" in SETTINGS[name] else {}))
    if name == "random_shooting":
        assert done.actions.mean() > 0.1, "a draw is hardly ever the corner itself"
    else:
        torch.testing.assert_close(done.actions, problems.high.expand_as(done.actions))


@every_planner
def test_bounds_without_zero(name: str) -> None:
    model = WORLDS["double_integrator"](torch.float32)
    problems = replace(problems_for(model), low=torch.tensor([0.2, -1.0]), high=torch.tensor([0.4, -0.5]))
    done = plan(name, model, problems, [1, 2, 3])
    assert (done.actions >= problems.low).all()
    assert (done.actions <= problems.high).all()


@every_planner
@pytest.mark.parametrize("frozen", [True, False])
def test_the_model_is_left_as_it_was(name: str, frozen: bool) -> None:
    model = small_mlp(torch.float32).requires_grad_(not frozen)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    done = plan(name, model, problems_for(model), [1, 2, 3])
    for parameter in model.parameters():
        assert parameter.requires_grad is not frozen
        assert parameter.grad is None
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    assert not done.actions.requires_grad
    assert not done.states.requires_grad
    assert not done.trace.requires_grad


@every_planner
def test_evaluations_are_the_model_steps_taken_and_progress_is_reported(name: str) -> None:
    model = Counting(WORLDS["pendulums"](torch.float32))
    seen: list[tuple[int, int]] = []
    planner = make_planner(name, SETTINGS[name])
    done = planner.plan(model, problems_for(model), [1, 2, 3], lambda i, n: seen.append((i, n)))
    assert done.evaluations.tolist() == [model.count // 3] * 3
    assert seen == [(i + 1, 12) for i in range(12)]


@every_planner
def test_full_settings_are_canonical(name: str) -> None:
    full = full_settings(name)
    assert full == full_settings(name, full)
    key = next(k for k, v in full.items() if isinstance(v, float) and k != "momentum")
    spelled = full_settings(name, {key: 1})
    assert spelled == full_settings(name, {key: 1.0})
    assert type(spelled[key]) is float
    assert type(full_settings(name, {"iterations": 30.0})["iterations"]) is int


@every_planner
def test_problems_that_do_not_fit_are_refused(name: str) -> None:
    model = small_mlp(torch.float32)
    problems = problems_for(model, steps=4)
    with pytest.raises(UserError, match="2 seeds for 3 problems"):
        plan(name, model, problems, [1, 2])
    with pytest.raises(UserError, match="steps 0"):
        plan(name, model, replace(problems, steps=0), [1, 2, 3])
    with pytest.raises(UserError, match="no problems"):
        plan(name, model, take(problems, []), [])
    with pytest.raises(UserError, match="action bounds"):
        plan(name, model, replace(problems, low=torch.zeros(3), high=torch.ones(3)), [1, 2, 3])
    with pytest.raises(UserError, match="exceed"):
        plan(name, model, replace(problems, low=problems.high + 1), [1, 2, 3])
    with pytest.raises(UserError, match="context of 1 states for a model with history 2"):
        plan(name, WORLDS["pendulums"](torch.float32), replace(problems, low=-torch.ones(2)), [1, 2, 3])
