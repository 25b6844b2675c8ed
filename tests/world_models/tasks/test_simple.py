"""Tasks made of a motion and its starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from world_models.errors import UserError
from world_models.tasks.base import Task, execute
from world_models.tasks.simple import SimpleTask


@dataclass(frozen=True)
class Slide(SimpleTask):
    """A point on a line that an action moves by at most `reach`."""

    reach: float = 1.0
    name = "slide"
    action_dim = 1
    observation_dim = 2
    tolerance = (0.5, np.inf)

    def start(self, rng):
        return np.array([rng.uniform(-1.0, 1.0), 0.0])

    def step(self, states, actions):
        moved = states[:, :1] + self.reach * actions
        return np.concatenate([moved, states[:, 1:] + 1.0], axis=1)


def test_goals_are_reached_by_the_actions_that_made_them_and_not_by_rest():
    task = Slide()
    assert isinstance(task, Task)
    problems = [task.problem(seed, 12) for seed in range(16)]
    actions = np.stack([problem.reference_actions for problem in problems])
    assert execute(task, problems, actions).success.all()
    assert execute(task, problems, actions).final_distance.max() == 0.0
    rest = execute(task, problems, np.zeros_like(actions))
    assert not rest.success.any()
    assert rest.final_distance.min() >= 2.0


def test_distances_are_in_tolerances_and_features_without_one_do_not_count():
    task = Slide()
    poses = task.pose(np.array([[0.0, 7.0], [0.5, 7.0], [0.75, 7.0]]))
    assert poses.shape == (3, 1)
    goals = np.zeros((3, 1))
    assert task.distance(poses, goals).tolist() == [0.0, 1.0, 1.5]
    assert task.reached(poses, goals).tolist() == [True, True, False]


def test_settings_change_the_problems_and_the_dynamics():
    near, far = Slide(), Slide(reach=2.0)
    assert near.dynamics == {"name": "slide", "action_block": 1, "reach": 1.0}
    assert not np.array_equal(near.problem(0, 12).start, far.problem(0, 12).start)


def test_a_task_in_which_nothing_moves_is_refused():
    with pytest.raises(UserError, match=r"task slide finds no goal 2 tolerances away within 3 steps: use a longer horizon"):
        Slide(reach=0.0).problem(0, 3)
