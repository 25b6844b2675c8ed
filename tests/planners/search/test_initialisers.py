"""Starts of searches: every planner takes every start and is never worse than it."""

from __future__ import annotations

import pytest
import torch

from planners import PLANNERS, Start, make_planner
from planners.search.explored_starts import explore
from planners.search.rollout_tree import ExploreSettings
from tests.support.planning import SETTINGS, WORLDS, problems_for
from world_models.base import rollout
from world_models.errors import UserError

F64 = torch.float64
TREE = {"explore_rounds": 4, "explore_nodes": 6, "explore_hold": 2, "explore_candidates": 3}
every_planner = pytest.mark.parametrize("name", sorted(PLANNERS))


@every_planner
def test_a_given_start_is_the_first_plan_that_counts(name: str) -> None:
    model = WORLDS["pendulums"](F64)
    problems = problems_for(model)
    before = make_planner("gd", {"iterations": 40}).plan(model, problems, [1, 2, 3])
    start = Start(before.actions, before.states[:, :-1])
    after = make_planner(name, {**SETTINGS[name], "iterations": 9}).plan(model, problems, [1, 2, 3], start=start)
    assert (after.cost <= before.cost * (1 + 1e-9)).all()


@every_planner
def test_explored_starts_are_the_trees_branches(name: str) -> None:
    model = WORLDS["double_integrator"](F64)
    problems = problems_for(model)
    branches = explore(model, problems, [1, 2, 3], 2, ExploreSettings(rounds=4, nodes=6, hold=2, candidates=3))
    settings = {**SETTINGS[name], "init_noise": 0.0} if "init_noise" in SETTINGS[name] else SETTINGS[name]
    planner = make_planner(name, {**settings, **TREE, "init": "explore", "restarts": 2})
    done = planner.plan(model, problems, [1, 2, 3])
    assert (done.cost <= branches.cost[:, 0] * (1 + 1e-9)).all()
    torch.testing.assert_close(done.trace[:, 0], branches.cost.amin(1))
    plain = make_planner(name, {**settings, "restarts": 2}).plan(model, problems, [1, 2, 3])
    assert (done.evaluations >= plain.evaluations + branches.evaluations).all(), "the tree is paid for"


def test_zeros_are_the_states_that_null_actions_lead_to() -> None:
    model = WORLDS["pendulums"](F64)
    problems = problems_for(model)
    one = make_planner("grasp", {**SETTINGS["grasp"], "init": "zeros"}).plan(model, problems, [1, 2, 3])
    actions = torch.zeros(3, problems.steps, model.action_dim, dtype=F64)
    start = Start(actions, rollout(model, problems.context, actions)[:, :-1])
    other = make_planner("grasp", SETTINGS["grasp"]).plan(model, problems, [1, 2, 3], start=start)
    assert torch.equal(one.actions, other.actions)
    assert (one.evaluations == other.evaluations + problems.steps).all()


def test_further_attempts_grow_new_trees() -> None:
    model = WORLDS["mlp"](F64)
    problems = problems_for(model)
    settings = {"iterations": 1, "samples": 1, "init": "explore", **TREE}
    once = make_planner("random_shooting", settings).plan(model, problems, [1, 2, 3])
    more = make_planner("random_shooting", {**settings, "attempts": 4}).plan(model, problems, [1, 2, 3])
    assert (more.cost <= once.cost).all()
    assert (more.cost < once.cost).any()


def test_a_start_that_does_not_fit_is_refused() -> None:
    model = WORLDS["pendulums"](F64)
    problems = problems_for(model)
    plans = make_planner("gd", {"iterations": 2}).plan(model, problems, [1, 2, 3])
    with pytest.raises(UserError, match="a start of shapes"):
        make_planner("gd").plan(model, problems, [1, 2, 3], start=plans.after(1))
