"""Our planners inside a stand-in of stable-worldmodel plan as they do in our own host."""

from __future__ import annotations

import warnings

import pytest
import torch
from gymnasium.spaces import Box, MultiDiscrete
from torch import Tensor

from planners import ModelProblems, make_planner
from planners.hosts import stable_worldmodel as swm
from planners.hosts.goal_costs import ObjectiveCost
from tests.planners.hosts.stand_ins import (
    ACTIONS,
    F64,
    FEATURES,
    Embedding,
    Evaluator,
    GoalMSE,
    Own,
    PathCost,
    PlanConfig,
    Policy,
    WithPenalty,
    evaluate,
    info_of,
    pictures,
    seeded,
)
from world_models.base import Context, SquaredDistance, rollout
from world_models.errors import UserError
from world_models.history import History

SHORT = {"iterations": 8, "sync_every": 4, "sync_steps": 2, "init_noise": 0.1}
SOLVERS = {
    "grasp": swm.GraspSolver,
    "latco": swm.LatCoSolver,
    "gd": swm.GDSolver,
    "cem": swm.CEMSolver,
    "icem": swm.ICEMSolver,
    "mppi": swm.MPPISolver,
    "random_shooting": swm.RandomShootingSolver,
}


def configured(solver: swm.Solver, steps: int = 5, count: int = 3) -> swm.Solver:
    solver.configure(action_space=Box(-1.0, 1.0, (count, ACTIONS)), n_envs=count, config=PlanConfig(steps, steps))
    return solver


@pytest.mark.parametrize(("name", "settings"), [("grasp", SHORT), ("grasp", SHORT | {"sync": "newton"}), ("gd", {})])
def test_plans_in_the_hosts_loop_are_those_of_our_host(name: str, settings: dict) -> None:
    network = Embedding(num_frames=1)
    start, goal = pictures()
    settings = {"iterations": 12, **settings}
    solver = SOLVERS[name](Evaluator(network, GoalMSE()), bound=1.0, seed=7, **settings)
    policy = Policy(solver, PlanConfig(horizon=6, receding_horizon=3, warm_start=False), len(start))
    seen = evaluate(policy, start, goal, 9)
    model, high = Own(network), torch.ones(ACTIONS, dtype=F64)
    assert len(policy.plans) == 3
    for number, plan in enumerate(policy.plans):
        context = Context.at(model, model.encode(seen[3 * number]["pixels"][:, 0]))
        problems = ModelProblems(context, model.encode(goal), 6, -high, high, SquaredDistance())
        ours = make_planner(name, settings).plan(model, problems, [7 + 3 * number + row for row in range(3)])
        torch.testing.assert_close(plan, ours.actions, rtol=0, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_rollouts_are_the_hosts_with_windows_that_grow_like_its_own(frames: int) -> None:
    network, info = Embedding(), info_of(frames=frames)
    actions = torch.randn(3, 6, ACTIONS, generator=seeded(0), dtype=F64, requires_grad=True)
    model, states = swm.EmbeddingDynamics.of(network, ACTIONS, info, None)
    ours = rollout(model, History(grows=True).context(model, states, info["action_history"]), actions)
    candidates = {key: value[:, None] for key, value in info.items()}
    theirs = network.rollout(candidates, actions[:, None])["predicted_emb"][:, 0, frames:]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(states.square().sum(), actions, retain_graph=True)[0] for states in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(SOLVERS))
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_every_planner_solves_in_the_hosts_units(name: str, reduction: str) -> None:
    cost, info = Evaluator(Embedding(), GoalMSE(reduction=reduction)), info_of()
    null = cost.get_cost({key: value[:, None] for key, value in info.items()}, torch.zeros(3, 1, 5, ACTIONS, dtype=F64))
    found = configured(SOLVERS[name](cost, iterations=10, **({"sync_every": 5} if name == "grasp" else {}))).solve(info)
    candidates = {key: value[:, None] for key, value in info.items()}
    theirs = cost.get_cost(candidates, found["actions"][:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(found["costs"], dtype=F64), theirs)
    assert (theirs <= null[:, 0] + 1e-12).all()
    assert theirs.sum() < null.sum()
    assert all(steps > 0 for steps in found["evaluations"])


def test_a_unit_of_cost_is_one_in_every_feature_whatever_the_host_sums() -> None:
    for reduction in ("sum", "mean"):
        source = swm.CostSource(cost := Evaluator(Embedding(), GoalMSE(reduction=reduction)), swm.Evaluator.of(cost), None)
        high = torch.ones(ACTIONS, dtype=F64)
        found = source.problems(info_of(), 4, -high, high, lifted=True)
        assert isinstance(found.goal_cost, ObjectiveCost)
        states, goals = torch.randn(2, 5, FEATURES, generator=seeded(3), dtype=F64)
        torch.testing.assert_close(found.goal_cost(states, goals), SquaredDistance()(states, goals))


def test_plans_depend_on_the_number_of_the_problem_and_on_no_batch() -> None:
    cost, info = Evaluator(Embedding(), GoalMSE()), info_of(4)
    together = configured(swm.GraspSolver(cost, seed=3, **SHORT)).solve(info)["actions"]
    in_blocks = configured(swm.GraspSolver(cost, seed=3, batch_size=3, **SHORT)).solve(info)["actions"]
    torch.testing.assert_close(in_blocks, together, rtol=0, atol=1e-9)
    single = configured(swm.GraspSolver(cost, seed=3, **SHORT))
    for row in range(4):
        alone = single.solve({key: value[row : row + 1] for key, value in info.items()})["actions"]
        torch.testing.assert_close(alone, together[row : row + 1], rtol=0, atol=1e-9)
    again = configured(single).solve(info)["actions"]
    assert torch.equal(again, together)
    assert not torch.equal(single.solve(info)["actions"], together)
    assert not torch.equal(configured(swm.GraspSolver(cost, seed=4, **SHORT)).solve(info)["actions"], together)


def test_a_warm_start_is_where_the_search_begins_and_null_rows_start_as_ever() -> None:
    cost, info = Evaluator(Embedding(), GoalMSE()), info_of()
    good = configured(swm.GDSolver(cost, iterations=40)).solve(info)
    init = good["actions"][:, :4].clone()
    init[1] = 0
    warm = configured(swm.GDSolver(cost, iterations=1)).solve(info, init)
    cold = configured(swm.GDSolver(cost, iterations=1)).solve(info)
    torch.testing.assert_close(warm["actions"][1], cold["actions"][1], rtol=0, atol=1e-12)
    assert warm["costs"][0] < cold["costs"][0]
    assert warm["costs"][2] < cold["costs"][2]
    with pytest.raises(UserError, match="a warm start of 6 steps for plans of 5"):
        configured(swm.GDSolver(cost)).solve(info, torch.ones(3, 6, ACTIONS))


def test_infos_and_costs_under_inference_mode_serve_planners_that_need_gradients() -> None:
    cost = Evaluator(Embedding(), GoalMSE())
    with torch.inference_mode():
        inside = configured(swm.GraspSolver(cost, **SHORT)).solve(info_of())["actions"]
    assert torch.equal(inside, configured(swm.GraspSolver(cost, **SHORT)).solve(info_of())["actions"])


@pytest.mark.parametrize("name", ["gd", "cem", "icem", "mppi", "random_shooting"])
def test_planners_of_whole_plans_need_the_costs_only(name: str) -> None:
    inner, info = Evaluator(Embedding(), GoalMSE()), info_of()

    class Costs:
        def get_cost(self, info_dict: dict, action_candidates: Tensor) -> Tensor:
            assert action_candidates.dtype == torch.float32
            return inner.get_cost({key: value.double() for key, value in info_dict.items()}, action_candidates.double())

    whole = configured(SOLVERS[name](inner, whole_plans=True, iterations=5)).solve(info)
    in_model = configured(SOLVERS[name](inner, iterations=5)).solve(info)
    torch.testing.assert_close(whole["actions"], in_model["actions"], rtol=0, atol=1e-6)
    single = configured(SOLVERS[name](Costs(), iterations=5)).solve(info)
    torch.testing.assert_close(single["actions"].double(), in_model["actions"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("objective", [WithPenalty(), PathCost()])
def test_objectives_of_more_than_the_last_state_are_refused_or_planned_as_a_whole(objective: GoalMSE) -> None:
    cost, info = Evaluator(Embedding(), objective), info_of()
    with pytest.raises(UserError, match="whole_plans=True"):
        configured(swm.GraspSolver(cost, **SHORT)).solve(info)
    whole = configured(swm.CEMSolver(cost, whole_plans=True)).solve(info)
    candidates = {key: value[:, None] for key, value in info.items()}
    theirs = cost.get_cost(candidates, whole["actions"][:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(whole["costs"], dtype=F64), theirs)


def test_settings_of_the_host_that_stay_behind_are_translated_or_left_aside() -> None:
    cost = Evaluator(Embedding(), GoalMSE())
    left = {"batch_size": 1, "num_samples": 40, "var_scale": 0.5, "n_steps": 7, "topk": 9, "device": "cpu", "seed": 42}
    settings = swm.CEMSolver(cost, **left).settings.as_dict()
    assert [settings[name] for name in ("samples", "std", "iterations", "elites")] == [40, 0.5, 7, 9]
    with pytest.warns(UserWarning, match="num_samples, var_scale, n_steps, topk: .* grasp leaves aside"):
        solver = swm.GraspSolver(cost, **left, iterations=50)
    assert solver.settings.as_dict()["iterations"] == 50
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        swm.GraspSolver(cost, **SHORT, init="explore")


def test_refusals() -> None:
    network, info = Embedding(), info_of()
    cost = Evaluator(network, GoalMSE())

    class Costs:
        def get_cost(self, info_dict: dict, action_candidates: Tensor) -> Tensor:
            raise AssertionError

    for sentence, refused in {
        "unknown setting of planner 'grasp': 'iteration'": lambda: swm.GraspSolver(cost, iteration=3),
        "cost Embedding has no get_cost": lambda: swm.GraspSolver(network),
        "device 'cuda' is not the model's": lambda: swm.GraspSolver(cost, device="cuda"),
        "constraints are not supported": lambda: swm.GraspSolver(Evaluator(network, GoalMSE(), [GoalMSE()])),
        "call configure first": lambda: swm.GraspSolver(cost).solve(info),
        "Costs has no model and objective": lambda: configured(swm.GraspSolver(Costs())).solve(info),
        "from starts that are not explored": lambda: configured(swm.CEMSolver(Costs(), init="explore")).solve(info),
        "not continuous": lambda: swm.CEMSolver(cost).configure(
            action_space=MultiDiscrete([3, 3]), n_envs=2, config=PlanConfig(3, 3)
        ),
        "no 'goal'": lambda: configured(swm.GraspSolver(cost)).solve({"pixels": info["pixels"]}),
        "give the blocks between them": lambda: configured(swm.GraspSolver(cost)).solve(
            info | {"action_history": torch.zeros(3, 2, ACTIONS, dtype=F64)}
        ),
        "bound -1.0 is not positive": lambda: swm.GraspSolver(cost, bound=-1.0),
        "batch_size 0": lambda: swm.GraspSolver(cost, batch_size=0),
    }.items():
        with pytest.raises(UserError, match=sentence):
            refused()
