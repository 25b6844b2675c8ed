"""Plans of a task without a simulator: judged by the model's prediction of what would be executed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from orchestrator.evaluation.execution import plan_and_execute
from planners import ModelProblems, OnStep, Plans, Start, make_planner
from world_models.base import Context, WorldModel, rollout
from world_models.checkpoints.store import LoadedModel
from world_models.models.mlp import MLPConfig, ResidualMLP, StateGoalCost
from world_models.tasks import Problem, make_task


class Bold:
    """A planner whose actions leave the bounds."""

    def __init__(self, size: float) -> None:
        self.size = size

    def plan(
        self,
        model: WorldModel,
        problems: ModelProblems,
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        start: Start | None = None,
    ) -> Plans:
        wanted = torch.full((problems.batch, problems.steps, problems.low.shape[0]), self.size)
        return make_planner("reference_actions").plan(model, replace(problems, reference=wanted), seeds)


def loaded(actions: int) -> LoadedModel:
    torch.manual_seed(0)
    model = ResidualMLP(MLPConfig(2, actions, width=8)).requires_grad_(False)
    return LoadedModel("made", model, StateGoalCost(torch.ones(2)), model.decode, {}, "0" * 16)


def problem(known: np.ndarray, horizon: int = 4) -> Problem:
    return Problem(0, horizon, "recorded", np.array([0.1, -0.2]), np.zeros(2), known)


def test_actions_beyond_the_bounds_are_clipped_before_the_model_judges() -> None:
    task, made = make_task("recorded", tolerance=[0.5, 0.5], low=[-3.0], high=[3.0]), loaded(1)
    done = plan_and_execute(task, made, Bold(2.5), [problem(np.zeros((4, 1)))], [0])
    start = Context.at(made.model, made.model.encode(torch.tensor([[0.1, -0.2]])))
    executed = made.model.decode(rollout(made.model, start, torch.ones(1, 4, 1)))[0, -1]
    np.testing.assert_allclose(done.rollout.states[0, -1], executed.double().numpy(), rtol=1e-5)
    assert (done.actions == 2.5).all(), "the plan is reported as planned"
    assert not np.allclose(made.model.decode(done.predicted)[0, -1].numpy(), executed.numpy())


def test_recorded_classes_are_followed_by_the_first_class() -> None:
    task, made = make_task("recorded", tolerance=[0.5, 0.5], classes=3), loaded(3)
    known = np.array([[-1.0, -1, 1], [-1, 1, -1]])
    done = plan_and_execute(task, made, make_planner("reference_actions"), [problem(known)], [0])
    assert done.actions[0].argmax(-1).tolist() == [2, 1, 0, 0]


@pytest.mark.parametrize("shape", [(0, 1), (0, 0)])
def test_problems_without_reference_actions_are_planned_all_the_same(shape: tuple[int, ...]) -> None:
    task, made = make_task("recorded", tolerance=[0.5, 0.5], low=[-3.0], high=[3.0]), loaded(1)
    done = plan_and_execute(task, made, make_planner("null_actions"), [problem(np.zeros(shape))], [0])
    assert not done.actions.any()
