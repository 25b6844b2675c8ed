"""A task that is known from recordings only: its units, its judgement of predictions, and its refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from world_models.errors import UserError
from world_models.tasks import Problem, Task, make_task
from world_models.tasks.base import classes_of, normalised_actions
from world_models.tasks.recorded import RecordedTask
from world_models.tasks.recorded.judging import NoSimulator, imagined_rollout

ARM = {"tolerance": [0.5, None, 2.0], "low": [-2.0, 0.0], "high": [2.0, 10.0]}


def problem(start: list[float], goal: list[float], horizon: int) -> Problem:
    return Problem(0, horizon, "recorded", np.array(start), np.array(goal), np.zeros((horizon, 2)))


def test_recorded_actions_are_scaled_to_their_bounds_or_told_apart_as_classes() -> None:
    recorded = np.array([[-2.0, 0.0], [2.0, 10.0], [0.0, 5.0]])
    assert normalised_actions(make_task("recorded", **ARM), recorded).tolist() == [[-1, -1], [1, 1], [0, 0]]
    game = make_task("recorded", tolerance=[1.0], classes=3)
    assert classes_of(game) == game.action_dim == 3
    assert normalised_actions(game, np.array([[2], [0]])).tolist() == [[-1, -1, 1], [1, -1, -1]]


def test_a_goal_is_reached_where_every_feature_that_matters_is_within_its_tolerance() -> None:
    task = make_task("recorded", **ARM)
    poses = task.pose(np.array([[0.4, 99.0, 1.9], [0.6, 0.0, 0.0], [0.0, 0.0, 2.1]]))
    goals = np.zeros_like(poses)
    assert task.reached(poses, goals).tolist() == [True, False, False]
    np.testing.assert_allclose(task.distance(poses, goals), [0.95, 1.2, 1.05])
    assert list(task.pose_errors(poses, goals)) == ["distance_tolerances", "feature_0_error", "feature_2_error"]


def test_predictions_become_a_rollout_in_which_each_holds_until_the_next_is_known() -> None:
    task = make_task("recorded", **ARM, action_block=2)
    predicted = np.array([[[1.0, 0, 0], [0.1, 0, 0]]])
    rollout = imagined_rollout(task, [problem([3.0, 0, 0], [0.0, 0, 0], 4)], predicted)
    assert rollout.states[0, :, 0].tolist() == [3.0, 3.0, 1.0, 1.0, 0.1]
    assert rollout.success.tolist() == [True]
    assert rollout.steps_to_success() == rollout.first_success() == [4]


def test_first_success_may_be_lost_again() -> None:
    task = make_task("recorded", **ARM)
    predicted = np.array([[[0.1, 0, 0], [3.0, 0, 0]], [[3.0, 0, 0], [3.0, 0, 0]]])
    both = [problem([3.0, 0, 0], [0.0, 0, 0], 2)] * 2
    rollout = imagined_rollout(task, both, predicted)
    assert rollout.first_success() == [1, None]
    assert rollout.steps_to_success() == [None, None]


def test_it_is_a_task_without_a_simulator() -> None:
    task = make_task("recorded", **ARM)
    assert isinstance(task, RecordedTask)
    assert isinstance(task, Task)
    assert isinstance(task, NoSimulator)
    assert task.simulate(np.zeros((2, 3)), np.zeros((2, 0, 2))).shape == (2, 1, 3)
    assert task.render(np.zeros(3), 32).shape == (32, 32, 3)
    assert "tolerance" not in task.dynamics, "another success test is no other motion"
    for fails, said in (
        (lambda: task.simulate(np.zeros((2, 3)), np.zeros((2, 1, 2))), "executes nothing: plan open loop"),
        (lambda: task.problem(0, 5), "draws no problems of its own: give problems.data=PATH"),
        (lambda: task.sample(np.random.default_rng(0), 1, 1), "collects no data: train from recordings with data=PATH"),
    ):
        with pytest.raises(UserError, match=said):
            fails()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, r"tolerance \[\] has no positive number"),
        ({"tolerance": 0.1}, "tolerance 0.1 is not a list: give one"),
        ({"tolerance": [None], "classes": 2}, r"tolerance \[None\] has no positive number"),
        ({"tolerance": [-1.0], "classes": 2}, "has no positive number"),
        ({"tolerance": [1.0, float("inf")], "classes": 2}, "has no positive number"),
        ({"tolerance": [1.0]}, r"low \[\] and high \[\] are not bounds of actions"),
        ({"tolerance": [1.0], "low": [1.0], "high": [1.0]}, "are not bounds of actions: give a lower and a higher number"),
        ({"tolerance": [1.0], "low": [0.0], "high": [1.0, 2.0]}, "are not bounds of actions"),
        ({"tolerance": [1.0], "low": ["a"], "high": [1.0]}, r"low \['a'\] has 'a', which is not a number"),
        ({"tolerance": [1.0], "classes": 1}, "classes 1 is not a number of classes"),
        ({"tolerance": [1.0], "classes": 2, "low": [0.0]}, "actions are either classes or have bounds"),
        ({"tolerance": [1.0], "classes": 2, "features": ["a", "b"]}, "features has 2 names and tolerance 1 numbers"),
        ({"tolerance": [1.0], "classes": 2, "action_block": 0}, "action_block 0"),
    ],
)
def test_settings_that_make_no_task_are_refused_in_a_sentence(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_task("recorded", **settings)
