"""Solvers of a host as planners of ours: all promises of a planner, and the same plans and costs as in their own loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor

from planners import ModelProblems, PlanStatus
from planners.hosts.solvers import HostSolver, RowCost, SolverConfig, SolverPlanner
from planners.settings import Settings, count
from planners.testing import PLANNER_CHECKS, WORLDS, PlannerCase, problems_for, take
from planners.testing.planners import (
    batch_equals_one_by_one_and_permutes,
    plan_is_the_best_rollout_seen_within_bounds,
    seeds_fix_plans,
    the_global_generator_neither_matters_nor_moves,
    the_model_is_left_as_it_was,
)
from tests.planners.hosts.stand_ins import CEM, F64, Descent, Embedding, Evaluator, GoalMSE, Own, info_of
from world_models.base import Context, SquaredDistance, rollout
from world_models.errors import UserError


def cem(cost: Any, seed: int) -> CEM:
    return CEM(cost, seed=seed)


@dataclass(frozen=True)
class CEMSettings(Settings):
    rounds: int = count(8)


@dataclass(frozen=True)
class TheirCEM(SolverPlanner[CEMSettings]):
    settings: CEMSettings = CEMSettings()

    def solver(self, cost: RowCost, seed: int) -> CEM:
        return CEM(cost, n_steps=self.settings.rounds, seed=seed)


def returned(changes: Mapping[str, Any]) -> HostSolver:
    rounds, samples = changes.get("iterations", 4), changes.get("samples", 12)
    return HostSolver(lambda cost, seed: CEM(cost, n_steps=rounds, num_samples=samples, seed=seed))


def best(changes: Mapping[str, Any]) -> HostSolver:
    return HostSolver(returned(changes).make, keep="best")


CASE = PlannerCase(returned, {"iterations": 40, "samples": 60}, improves_every_row=False, knows_classes=False)


@pytest.mark.parametrize("check", PLANNER_CHECKS, ids=lambda check: check.__name__)
def test_a_solver_keeps_every_promise_of_a_planner(check: Callable) -> None:
    check(CASE, "mlp")


@pytest.mark.parametrize("keep", [returned, best])
@pytest.mark.parametrize("world", ["pendulums", "patches"])
def test_plans_are_rollouts_within_bounds_in_worlds_of_every_kind(world: str, keep: Callable) -> None:
    plan_is_the_best_rollout_seen_within_bounds(replace(CASE, make=keep), world)
    batch_equals_one_by_one_and_permutes(replace(CASE, make=keep), world)


@pytest.mark.parametrize(
    "check", [seeds_fix_plans, the_global_generator_neither_matters_nor_moves, the_model_is_left_as_it_was]
)
def test_a_solver_that_calls_backward_and_the_global_generator_keeps_them_too(check: Callable) -> None:
    check(PlannerCase(lambda changes: HostSolver(lambda cost, seed: Descent(cost, n_steps=3))), "mlp")


def test_costs_and_plans_are_those_of_their_own_loop() -> None:
    """The stand-in's own loop on the stand-in's own cost object, against our planner on our model of the same weights."""
    network, info = Embedding(), info_of(frames=3)
    cost = Evaluator(network, GoalMSE(reduction="mean"))
    problems, model = problem_of(network, info)
    plans = HostSolver(cem).plan(model, problems, [5, 6, 7])
    for row, seed in enumerate((5, 6, 7)):
        theirs = CEM(cost, seed=seed)
        theirs.configure(action_space=Box(-9.0, 9.0, (1, 2)), n_envs=1, config=SolverConfig(4, 4))
        one = {key: value[row : row + 1] for key, value in info.items()}
        found = theirs.solve(one)["actions"]
        torch.testing.assert_close(plans.actions[row : row + 1], found.clone(), rtol=0, atol=1e-12)
        own = cost.get_cost({key: value[:, None] for key, value in one.items()}, found.clone()[:, None])
        torch.testing.assert_close(plans.cost[row : row + 1], own[0].clone(), rtol=0, atol=1e-12)


def problem_of(network: Embedding, info: dict[str, Tensor]) -> tuple[Any, Any]:
    """The stand-in's info as problems of ours with full windows, by hand."""
    model = Own(network, history=3)
    frames = network.picture(info["pixels"])
    goal = network.picture(info["goal"][:, 0])
    wide = torch.full((2,), 9.0, dtype=F64)
    return ModelProblems(Context(frames, info["action_history"]), goal, 4, -wide, wide, SquaredDistance()), model


def test_the_best_candidate_is_never_worse_than_the_returned_plan() -> None:
    model = WORLDS["pendulums"](F64)
    problems = problems_for(model)
    kept, theirs = (one({}).plan(model, problems, [1, 2, 3]) for one in (best, returned))
    assert (kept.cost <= theirs.cost).all()
    assert (kept.cost < theirs.cost).any()
    assert torch.equal(kept.last_cost, theirs.cost)
    assert torch.equal(kept.evaluations, theirs.evaluations)
    torch.testing.assert_close(kept.states, rollout(model, problems.context, kept.actions))


def test_settings_make_a_planner_for_sweeps() -> None:
    model = WORLDS["mlp"](F64)
    problems = problems_for(model)
    few, many = (TheirCEM(CEMSettings(rounds)).plan(model, problems, [1, 2, 3]) for rounds in (1, 8))
    assert torch.equal(many.actions, HostSolver(cem).plan(model, problems, [1, 2, 3]).actions)
    assert (few.evaluations < many.evaluations).all()


def test_a_scale_is_seen_by_the_solver_and_not_in_the_plans() -> None:
    model = WORLDS["mlp"](F64)
    problems = take(problems_for(model), [0])
    seen: list[Tensor] = []

    class Watched(CEM):
        def solve(self, info_dict: dict, init_action: Tensor | None = None) -> dict:
            null = torch.zeros(1, 1, self.horizon, self.action_dim, dtype=F64)
            seen.append(self.cost.get_cost(info_dict, null)[0, 0])
            return super().solve(info_dict, init_action)

    one, scaled = (HostSolver(lambda cost, seed: Watched(cost), scale=scale).plan(model, problems, [1]) for scale in (1.0, 7.0))
    torch.testing.assert_close(seen[1], 7 * seen[0])
    assert torch.equal(one.actions, scaled.actions)
    assert torch.equal(one.cost, scaled.cost)


def test_a_start_is_the_solvers_initial_plan() -> None:
    model = WORLDS["mlp"](F64)
    problems = problems_for(model)
    first = HostSolver(cem).plan(model, problems, [1, 2, 3])

    class Echo(CEM):
        def solve(self, info_dict: dict, init_action: Tensor | None = None) -> dict:
            assert init_action is not None
            return {"actions": init_action}

    again = HostSolver(lambda cost, seed: Echo(cost)).plan(model, problems, [1, 2, 3], start=first.after(0))
    assert torch.equal(again.actions, first.actions)


def test_rows_that_break_have_the_start_as_their_plan(capsys: pytest.CaptureFixture) -> None:
    model = WORLDS["mlp"](F64)
    problems = problems_for(model)
    states = problems.context.states.clone()
    states[1] = torch.nan
    broken = replace(problems, context=Context(states, problems.context.actions))
    plans = HostSolver(lambda cost, seed: Descent(cost)).plan(model, broken, [1, 2, 3])
    assert plans.status == (PlanStatus.COMPLETED, PlanStatus.NON_FINITE, PlanStatus.COMPLETED)
    assert torch.equal(plans.actions[1], torch.zeros_like(plans.actions[1]))
    HostSolver(cem).plan(model, take(problems, [0]), [1])
    assert capsys.readouterr().out == ""


def test_refusals() -> None:
    model = WORLDS["mlp"](F64)
    problems = problems_for(model)

    class Short(CEM):
        def solve(self, info_dict: dict, init_action: Tensor | None = None) -> dict:
            return {"actions": torch.zeros(1, 2, self.action_dim)}

    with pytest.raises(UserError, match=r"Short returned actions of shape \(1, 2, 2\), not \(1, 6, 2\)"):
        HostSolver(lambda cost, seed: Short(cost)).plan(model, problems, [1, 2, 3])
    with pytest.raises(UserError, match="keep 'last' is neither"):
        HostSolver(cem, keep="last")
    with pytest.raises(UserError, match="scale 0 is not positive"):
        HostSolver(cem, scale=0.0)
