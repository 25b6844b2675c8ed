"""Our planners inside a stand-in of le-wm, whose models are their own cost objects."""

from __future__ import annotations

import pytest
import torch
from gymnasium.spaces import Box

from planners import ModelProblems, make_planner
from planners.hosts import le_wm
from planners.hosts import stable_worldmodel as swm
from tests.planners.hosts.stand_ins import (
    ACTIONS,
    F64,
    Embedding,
    Evaluator,
    GoalMSE,
    LeWM,
    Own,
    PlanConfig,
    Policy,
    evaluate,
    info_of,
    pictures,
)
from world_models.base import Context, SquaredDistance
from world_models.errors import UserError

SHORT = {"iterations": 8, "sync_every": 4, "sync_steps": 2, "init_noise": 0.1}


def test_plans_in_the_hosts_loop_are_those_of_our_host() -> None:
    network = LeWM(num_frames=1)
    start, goal = pictures()
    policy = Policy(le_wm.GraspSolver(network, history=1, check_cost=False, bound=1.0, seed=7, **SHORT), PlanConfig(5, 5), 3)
    seen = evaluate(policy, start, goal, 6)
    model, high = Own(network), torch.ones(ACTIONS, dtype=F64)
    for number, plan in enumerate(policy.plans):
        context = Context.at(model, model.encode(seen[5 * number]["pixels"][:, 0]))
        problems = ModelProblems(context, model.encode(goal), 5, -high, high, SquaredDistance())
        ours = make_planner("grasp", SHORT).plan(model, problems, [7 + 3 * number + row for row in range(3)])
        torch.testing.assert_close(plan, ours.actions, rtol=0, atol=1e-6)
    assert len(policy.plans) == 2


@pytest.mark.parametrize("name", ["GraspSolver", "LatCoSolver", "GDSolver", "CEMSolver", "ICEMSolver", "MPPISolver"])
def test_solvers_plan_as_those_of_stable_worldmodel_in_the_same_model(name: str) -> None:
    """Windows grow in both, goals are aligned with their environments, and costs are the host's own of each environment."""
    info = info_of() | {"action": torch.full((3, 1, ACTIONS), torch.nan)}
    settings = {"iterations": 8} | ({"sync_every": 4, "sync_steps": 2} if name == "GraspSolver" else {})
    one = getattr(le_wm, name)(LeWM(), **settings)
    other = getattr(swm, name)(Evaluator(Embedding(), GoalMSE()), **settings)
    results = []
    for solver in (one, other):
        solver.configure(action_space=Box(-1.0, 1.0, (3, ACTIONS)), n_envs=3, config=PlanConfig(5, 5))
        results.append(solver.solve(info))
    torch.testing.assert_close(results[0]["actions"], results[1]["actions"], rtol=0, atol=1e-9)
    assert results[0]["costs"] == pytest.approx(results[1]["costs"])


def test_random_shooting_is_there_too() -> None:
    assert le_wm.RandomShootingSolver(LeWM()).settings == swm.RandomShootingSolver(Evaluator(LeWM(), GoalMSE())).settings


def test_a_model_without_costs_is_refused() -> None:
    with pytest.raises(UserError, match="model Embedding has no criterion, get_cost: give a JEPA of le-wm"):
        le_wm.GraspSolver(Embedding())
