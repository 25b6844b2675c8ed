"""Rooms as others have them, against values that their code printed (`python -m benchmarks.upstream_rooms --write`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from world_models.errors import UserError
from world_models.tasks import execute, make_task
from world_models.tasks.rooms import TwoRoom, WallDino
from world_models.tasks.rooms.room import Room

GOLDEN = Path(__file__).parents[3] / "golden" / "rooms_upstream.npz"
ROOMS: dict[str, Room] = {
    "two_room": TwoRoom(),
    "wall_dino_door_10": WallDino(door=10),
    "wall_dino_door_30": WallDino(door=30),
}


def golden(name: str) -> dict[str, np.ndarray]:
    """Upstream's values of one environment, by name."""
    with np.load(GOLDEN) as file:
        return {key.partition("/")[2]: file[key] for key in file.files if key.startswith(f"{name}/")}


@pytest.mark.parametrize("name", ROOMS)
def test_positions_after_random_actions_are_theirs(name: str) -> None:
    values, task = golden(name), ROOMS[name]
    states = task.simulate(values["starts"], values["actions"])
    assert np.abs(states[:, 1:] - values["states"][:, 1:]).max() <= 1e-9
    free = values["starts"][:, None] + task.plan.stride * values["actions"].cumsum(1)
    assert (np.abs(free - states[:, 1:]).max((1, 2)) > 0.1).sum() > 5, "several meet a wall"


@pytest.mark.parametrize("name", ROOMS)
def test_verdicts_are_theirs(name: str) -> None:
    values, task = golden(name), ROOMS[name]
    assert np.array_equal(task.reached(values["verdict_states"], values["verdict_goals"]), values["verdicts"])
    assert 0.3 < values["verdicts"].mean() < 0.7


@pytest.mark.parametrize("name", ROOMS)
def test_pictures_are_theirs(name: str) -> None:
    values, task = golden(name), ROOMS[name]
    drawn = task.pixels(values["states"][: len(values["pictures"]), -1], 224)
    assert (drawn != values["pictures"]).any(-1).mean() <= 1e-4
    again = task.pixels(values["states"][1:2, -1], 224)
    assert np.array_equal(again[0], drawn[1]), "a picture is the same alone"


@pytest.mark.parametrize("name", ROOMS)
def test_random_starts_and_goals_are_theirs(name: str) -> None:
    values, task = golden(name), ROOMS[name]
    for seed, expected in enumerate(values["random"]):
        assert np.array_equal(np.stack(task.random_states(seed)), expected)
    problem = type(task)(problems="random").problem(3, 25)
    assert np.array_equal(np.stack([problem.start, problem.goal]), values["random"][3])
    assert np.array_equal(problem.start, task.reset_state(3))


def test_a_step_over_the_whole_wall_is_stopped_and_the_door_lets_through() -> None:
    task = make_task("two_room")
    starts = np.array([[98.0, 150.0], [98.0, 49.0], [126.0, 150.0]])
    ends = task.simulate(starts, np.array([[[1.0, 0.0]] * 8, [[1.0, 0.0]] * 8, [[-1.0, 0.0]] * 8]))[:, -1]
    np.testing.assert_array_equal(ends, [[99.5, 150.0], [138.0, 49.0], [124.5, 150.0]])


def test_a_point_bounces_off_a_face_and_is_moved_along_it() -> None:
    task = WallDino(bound=1.0)
    starts = np.array([[28.0, 40.0], [36.0, 40.0], [20.0, 5.0], [20.0, 59.0]])
    pushed = np.array([[1.0, 0.0], [-1.0, 0.0], [0.5, -1.0], [0.5, 1.0]])
    ends = task.simulate(starts, pushed[:, None])[:, 1]
    np.testing.assert_allclose(ends, [[28.5, 40.5], [35.5, 40.5], [21.0, 4.5], [21.0, 59.5]])


def test_a_step_straight_up_into_the_border_ends_where_one_almost_straight_up_does() -> None:
    """Upstream's position is not a number then."""
    task = WallDino(bound=1.0)
    starts = np.array([[20.0, 5.0], [20.0, 59.0], [50.0, 4.0], [4.0, 30.0]])
    straight = np.array([[0.0, -1.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.5]])
    ends = task.simulate(starts, straight[:, None])[:, 1]
    assert np.isfinite(ends).all()
    near = task.simulate(starts[:2], (straight[:2] + np.array([1e-9, 0.0]))[:, None])[:, 1]
    np.testing.assert_allclose(ends[:2], near, atol=1e-6)


@pytest.mark.parametrize("name", ["two_room", "wall_dino"])
def test_walked_problems_lead_through_the_door_at_every_horizon(name: str) -> None:
    task = make_task(name)
    assert isinstance(task, Room)
    for horizon in (25, 100):
        problems = [task.problem(seed, horizon) for seed in range(20)]
        starts, goals = np.stack([each.start for each in problems]), np.stack([each.goal for each in problems])
        assert ((starts[:, 0] < task.plan.middle) != (goals[:, 0] < task.plan.middle)).all()
        assert 5 <= (starts[:, 0] < task.plan.middle).sum() <= 15, "in both directions"


def test_actions_of_the_wall_are_executed_as_they_are_and_those_of_two_room_are_clipped() -> None:
    for name, moved in (("wall_dino", 7.2), ("two_room", 5.0)):
        task = make_task(name)
        problem = replace(
            task.problem(0, 25), horizon=1, start=np.array([15.0, 40.0] if name == "wall_dino" else [40.0, 150.0])
        )
        states = execute(task, [problem], np.array([[[2.0, 0.0]]])).states
        np.testing.assert_allclose(states[0, 1] - states[0, 0], [moved, 0.0], atol=1e-5)


def test_a_horizon_without_problems_is_refused() -> None:
    with pytest.raises(UserError, match="3 steps are too few to walk 24 px"):
        make_task("two_room").problem(0, 3)


def test_recorded_rows_are_positions_and_recorded_actions_are_bounded() -> None:
    task, rows = WallDino(), np.arange(6.0).reshape(3, 2)
    for name in ("obs/state", "pos_agent", "states", "proprio"):
        found = task.recorded_states({name: rows.astype(np.float32), "pixels": np.zeros((3, 4))}, None)
        assert found is not None
        assert np.array_equal(found, rows)
    assert task.recorded_states({"state": np.zeros((3, 10))}, None) is None
    assert np.array_equal(np.asarray(task.recorded_states({}, rows)), rows)
    np.testing.assert_allclose(task.normalise(np.array([[1.8, -0.9]])), [[1.0, -0.5]])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"problems": "dset"}, "random, walked"),
        ({"door": 3}, "door 3 is not a whole position"),
        ({"wall": 60}, "wall 60 is not"),
        ({"bound": 0}, "bound 0 is not above 0"),
        ({"bound": float("nan")}, "bound nan is not above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_task("wall_dino", **settings)
