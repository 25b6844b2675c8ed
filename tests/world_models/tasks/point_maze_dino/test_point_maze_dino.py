"""The point maze as DINO-WM has it, against values that `python -m benchmarks.upstream_point_maze --write` kept of its code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from world_models.errors import UserError
from world_models.tasks import execute, make_task
from world_models.tasks.point_maze_dino import PointMazeDino
from world_models.tasks.point_maze_dino.physics import back, turned
from world_models.tasks.point_maze_dino.pictures import DARK, LIGHT

GOLDEN = Path(__file__).parents[3] / "golden" / "point_maze_dino.npz"


def golden() -> dict[str, np.ndarray]:
    """DINO-WM's values by name."""
    with np.load(GOLDEN) as file:
        return {key: file[key] for key in file.files}


def test_states_after_random_actions_are_theirs() -> None:
    values = golden()
    states = PointMazeDino().simulate(values["starts"], values["actions"])
    assert np.abs(states[..., :4] - values["states"]).max() <= 1e-9


def test_random_starts_and_goals_are_theirs() -> None:
    task = PointMazeDino(problems="random")
    for seed, expected in enumerate(golden()["random"]):
        assert np.array_equal(np.stack(task.random_states(seed))[:, :4], expected)
    problem = task.problem(3, 25)
    assert np.array_equal(problem.start, task.reset_state(3))
    assert np.array_equal(problem.goal[:4], golden()["random"][3, 1])


def test_a_quarter_turn_leads_there_and_back() -> None:
    states = np.random.default_rng(0).normal(0.0, 1.0, (5, 4))
    np.testing.assert_allclose(back(turned(states)[:, :4]), states, atol=1e-12)


def test_the_picture_has_the_maze_s_floor_and_the_ball_where_on_picture_says() -> None:
    task = PointMazeDino()
    states = np.zeros((2, 6))
    states[:, :2] = (0.8, 0.8), (2.8, 0.8)
    images = task.pixels(states, 224)
    for colour in (DARK, LIGHT):
        assert (images[0] == colour).all(-1).sum() > 10_000, "floor"
    at = (task.on_picture(states[:, :2])[:, 0] * 224).astype(int)
    for image, (column, row) in zip(images, at, strict=True):
        red, green, blue = image[row, column].astype(int)
        assert green > max(red, blue) + 60
    assert at[1, 0] > at[0, 0] + 50
    assert at[1, 1] == at[0, 1], "x points right"


def test_recorded_rows_become_states_just_reset() -> None:
    task, rows = PointMazeDino(), np.arange(8.0).reshape(2, 4)
    for columns, observations in (({"states": rows}, None), ({}, rows)):
        found = task.recorded_states(columns, observations)
        assert found is not None
        assert np.array_equal(found, np.concatenate([rows, np.zeros((2, 2))], 1))
    whole = np.arange(12.0).reshape(2, 6)
    assert np.array_equal(np.asarray(task.recorded_states({"simulator_state": whole, "state": rows}, rows)), whole)
    assert task.recorded_states({"state": np.zeros((2, 3))}, None) is None


def test_problems_at_horizons_from_ten_on() -> None:
    task = make_task("point_maze_dino")
    for horizon in (10, 50):
        problems = [task.problem(seed, horizon) for seed in range(3)]
        assert execute(task, problems, np.stack([each.reference_actions for each in problems])).success.all()
    with pytest.raises(UserError, match="has no problem of 2 steps"):
        task.problem(0, 2)
    with pytest.raises(UserError, match="'umaze' only"):
        make_task("point_maze_dino", maze="medium")
    with pytest.raises(UserError, match="followed, random"):
        make_task("point_maze_dino", problems="dset")
