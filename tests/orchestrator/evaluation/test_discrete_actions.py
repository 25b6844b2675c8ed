"""Discrete actions from the task to the simulator: what the model was planned with is what is executed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from orchestrator.core.modes import ExecutionMode
from orchestrator.evaluation.execution import plan_and_execute, predicted_states
from planners import Plans, make_planner
from planners.testing import SHORT
from world_models import load, make_task
from world_models.base import rollout
from world_models.tasks import execute

TASK = make_task(
    "gymnasium",
    id="CartPole-v1",
    behaviour="scripted",
    features=["cart_m", "cart_m_s", "pole_rad", "pole_rad_s"],
    tolerance=[0.1, 0.5, 0.05, 0.5],
)
PROBLEMS = [TASK.problem(seed, 12) for seed in range(3)]
MODEL = load("cartpole", "cpu")


class Halves:
    """A planner that knows no classes and returns actions in between."""

    def plan(self, model, problems, seeds, on_step=None, start=None) -> Plans:
        plans = make_planner("gd", SHORT["gd"]).plan(model, replace(problems, classes=None), seeds, on_step, start)
        actions = plans.actions / 2
        states = rollout(model, problems.context, actions)
        return replace(plans, actions=actions, states=states, cost=problems.goal_cost(states[:, -1], problems.goal))


PLANNERS = {"cem": make_planner("cem", SHORT["cem"]), "grasp": make_planner("grasp", SHORT["grasp"]), "a foreign one": Halves()}


@pytest.mark.parametrize("every", [None, 6])
@pytest.mark.parametrize("name", sorted(PLANNERS))
def test_executed_actions_are_classes_and_the_model_saw_them(name: str, every: int | None) -> None:
    done = plan_and_execute(TASK, MODEL, PLANNERS[name], PROBLEMS, range(3), ExecutionMode(every))
    assert (np.sort(done.actions, -1) == [-1.0, 1.0]).all()
    assert np.array_equal(execute(TASK, PROBLEMS, done.actions).states, done.rollout.states)
    again = predicted_states(TASK, MODEL, done.rollout.states, done.actions, ExecutionMode(every))
    torch.testing.assert_close(again, done.predicted, rtol=1e-4, atol=1e-5)
    goals = MODEL.sensors.encode(MODEL.model, TASK, np.stack([problem.goal for problem in PROBLEMS]))
    torch.testing.assert_close(MODEL.goal_cost(done.predicted[:, -1], goals), done.cost, rtol=1e-4, atol=1e-5)
