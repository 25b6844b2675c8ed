"""Scripted behaviour: problems whose goals no blind actions reach, and training behaviour near them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.world_models.tasks.gym.made_up import register
from world_models.errors import UnknownNameError, UserError
from world_models.tasks import execute, make_task
from world_models.tasks.base import classes_of
from world_models.tasks.gym import GymTask
from world_models.tasks.gym.simulator import Policy

register()
SETTINGS = {"features": ["cart_m", "cart_m_s", "pole_rad", "pole_rad_s"], "tolerance": [0.1, 0.5, 0.05, 0.5]}


def cart_pole() -> GymTask:
    """The task of conf/task/cartpole.yaml."""
    task = make_task("gymnasium", id="CartPole-v1", behaviour="scripted", **SETTINGS)
    assert isinstance(task, GymTask)
    return task


def towards(rng: np.random.Generator) -> Policy:
    """A policy that drives a cart towards a place."""
    place = rng.uniform(-1.0, 1.0)
    return lambda observed: np.array([place - observed[0] - 2 * observed[1]])


def test_only_planning_balances_the_pole() -> None:
    task, horizon, count = cart_pole(), 50, 16
    problems = [task.problem(seed, horizon) for seed in range(100, 100 + count)]
    references = np.stack([problem.reference_actions for problem in problems])
    assert execute(task, problems, references).success.all()
    rng = np.random.default_rng(0)
    floors = {
        "first class": np.broadcast_to([1.0, -1.0], references.shape),
        "random": rng.uniform(-1, 1, references.shape),
        "held": np.repeat(rng.uniform(-1, 1, (count, 1, 2)), horizon, 1),
    }
    for name, plans in floors.items():
        assert execute(task, problems, plans).success.mean() <= 0.1, name
    goals = np.stack([task.observe(problem.goal) for problem in problems])
    assert np.abs(goals[:, 2]).max() < 0.21, "a goal lies where the pole has fallen"
    assert np.abs(goals[:, 0]).max() > 0.5


def test_what_a_script_does_is_fixed() -> None:
    """Problems depend on it, and only the task's version is in a cell's id: a change of a script raises it."""
    task = cart_pole()
    taken = task.problem(0, 20).reference_actions.argmax(1)
    assert (task.version, "".join(map(str, taken))) == (2, "11100011000110011000")
    assert classes_of(task) == 2
    assert classes_of(make_task("gymnasium", id="Pendulum-v1")) is None
    assert classes_of(make_task("wall")) is None


def test_training_behaviour_is_mostly_near_the_script_and_takes_classes() -> None:
    states, actions = cart_pole().sample(np.random.default_rng(0), 24, 30)
    assert (np.sort(actions, -1) == [-1.0, 1.0]).all()
    upright = np.abs(states[:, -1, 2]) < 0.21
    blind = np.arange(24) % 4 == 0
    assert upright[~blind].mean() > 0.9
    assert not upright[blind].all()


def test_a_script_of_ones_own() -> None:
    task = make_task("gymnasium", id="MadeUp/Cart-v0", features=[0], tolerance=0.05, behaviour=towards)
    problem, again = (task.problem(3, 30) for _ in range(2))
    assert np.array_equal(problem.reference_actions, again.reference_actions)
    assert problem.kind == "scripted"
    assert np.abs(problem.reference_actions).max() <= 1.0
    assert execute(task, [problem], problem.reference_actions[None]).success.all()
    states, actions = task.sample(np.random.default_rng(0), 8, 10)
    assert np.array_equal(task.simulate(states[:, 0], actions), states)


def test_behaviour_without_a_script_is_refused() -> None:
    with pytest.raises(UserError, match=r"Pendulum-v1 has no script of ours, as CartPole has: give behaviour a function"):
        make_task("gymnasium", id="Pendulum-v1", behaviour="scripted")
    with pytest.raises(UnknownNameError, match="wild"):
        make_task("gymnasium", id="Pendulum-v1", behaviour="wild")
