"""Promises of every task, checked for each task and setting: add a line to CASES for a new one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from orchestrator.testing import Plane
from world_models.errors import UserError
from world_models.tasks import TASKS, make_task
from world_models.testing import TASK_CHECKS, TaskCase, check_problems_elsewhere, check_task


def case(name: str, settings: dict, horizon: int, continuation: float = 0.0) -> TaskCase:
    """A case of the registry's task."""

    def remake(**changes: object) -> object:
        return make_task(name, **{**settings, **changes})

    return TaskCase(make_task(name, **settings), horizon, continuation, remake)


CASES = {
    **{f"wall-{kind}": case("wall", {"kind": kind}, 40) for kind in ("free", "shallow", "deep", "any")},
    "wall-shallow-2.5-5": case("wall", {"kind": "shallow", "speed": 2.5, "action_block": 5}, 20),
    "wall-any-6": case("wall", {"kind": "any", "speed": 6.0}, 12),
    "point_maze-umaze": case("point_maze", {"maze": "umaze"}, 50),
    "point_maze-medium-5": case("point_maze", {"maze": "medium", "action_block": 5}, 60),
    # pymunk warm-starts contacts from the step before, which is not part of the simulator state.
    "push_t": case("push_t", {}, 20, continuation=0.5),
    "push_t-5": case("push_t", {"action_block": 5}, 25, continuation=0.5),
    "push_t_upstream": case("push_t_upstream", {}, 20, continuation=0.5),
    "push_t_upstream-swm-5": case("push_t_upstream", {"settling": "swm", "action_block": 5}, 25, continuation=1.0),
    "two_room": case("two_room", {}, 20),
    "two_room-5": case("two_room", {"action_block": 5}, 40),
    "wall_dino": case("wall_dino", {}, 20),
    "wall_dino-30-5": case("wall_dino", {"door": 30, "wall": 36, "bound": 1, "action_block": 5}, 40),
    "point_maze_dino-5": case("point_maze_dino", {"action_block": 5}, 20),
    **{
        f"gymnasium-{name}{'-scripted' * ('behaviour' in settings)}": case("gymnasium", {"id": name, **settings}, horizon)
        for name, horizon, settings in (
            ("Pendulum-v1", 20, {}),
            ("MountainCarContinuous-v0", 20, {}),
            ("MountainCar-v0", 40, {"state": "replay"}),
            ("CartPole-v1", 20, {}),
            ("CartPole-v1", 40, {"behaviour": "scripted", "tolerance": 0.05}),
            ("Reacher-v5", 24, {"action_block": 2}),
            ("PointMaze_UMaze-v3", 24, {}),
        )
    },
}


@pytest.mark.parametrize("check", TASK_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", CASES)
def test_every_task_keeps_its_promises(name: str, check: Callable[[TaskCase], None]) -> None:
    check(CASES[name])


def test_every_registered_task_with_a_simulator_is_here() -> None:
    assert {case.task.name for case in CASES.values()} == set(TASKS) - {"recorded"}


def test_another_process_draws_the_same_problems() -> None:
    check_problems_elsewhere([(case.task, case.horizon) for case in CASES.values()])


@pytest.mark.parametrize("name", sorted(TASKS))
def test_unknown_settings_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="colour"):
        make_task(name, colour="red")


@dataclasses.dataclass(frozen=True)
class Forgetful(type(make_task("wall"))):
    """A wall whose simulator adds noise of its own."""

    def simulate(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        after = super().simulate(states, actions)
        return after + 1e-6 * np.random.default_rng(int(after.sum() * 1e6) % 97).normal(size=after.shape)


def test_check_task_says_in_a_sentence_what_is_broken() -> None:
    with pytest.raises(AssertionError, match="reference actions do not end exactly at the goal"):
        check_task(Forgetful(kind="any"), horizon=12)
    with pytest.raises(AssertionError, match="must carry their unit"):
        check_task(Plane(), horizon=12)
