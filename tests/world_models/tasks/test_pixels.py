"""Pictures of simulator states: in batches, in the right place, with the right coverage."""

from __future__ import annotations

import numpy as np
import pytest

from world_models.tasks import Task, make_task
from world_models.tasks.base import Drawable, Visible, pose_of
from world_models.tasks.push_t.shapes import AGENT, AGENT_RADIUS, BLOCK, BORDER, PAPER

TASKS = ["wall", "point_maze", "push_t"]


def seen(name: str) -> Task:
    """A task with pictures."""
    task = make_task(name)
    assert isinstance(task, Visible)
    return task


def states_of(task: Task) -> np.ndarray:
    states, _ = task.sample(np.random.default_rng(5), 12, 30)
    return states.reshape(-1, states.shape[-1])


@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize("name", TASKS)
def test_a_batch_is_its_pictures_one_by_one(name: str, size: int) -> None:
    task = seen(name)
    states = states_of(task)[:: 1 if size == 64 else 20]
    together = task.pixels(states, size)
    assert together.shape == (len(states), size, size, 3)
    assert together.dtype == np.uint8
    for i in (0, 3, len(states) // 2, len(states) - 1):
        assert np.array_equal(task.pixels(states[i : i + 1], size)[0], together[i])
        assert np.array_equal(task.render(states[i], size), together[i])


@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize("name", TASKS)
def test_the_picture_changes_where_the_bodies_are(name: str, size: int) -> None:
    task = make_task(name)
    assert isinstance(task, Drawable)
    states = states_of(task)
    first, second = states[:1], states[180:181]
    changed = (task.pixels(first, size)[0] != task.pixels(second, size)[0]).any(-1)
    rows, columns = np.nonzero(changed)
    seen = np.stack([columns + 0.5, rows + 0.5], 1) / size
    positions = task.on_picture(pose_of(task, np.concatenate([first, second]))).reshape(-1, 2)
    apart = np.linalg.norm(seen[:, None] - positions, axis=2)
    assert (apart.min(0) < 2 / size + 0.01).all()
    assert (apart.min(1) < 78 / 512 + 2 / size).all()


@pytest.mark.parametrize("name", TASKS)
def test_a_move_of_a_hundredth_of_a_pixel_is_hardly_seen_and_of_a_pixel_is(name: str) -> None:
    task = seen(name)
    state = states_of(task)[:1]
    unit = {"wall": 65 / 64, "point_maze": 5 / 64, "push_t": 8.0}[name]
    moved = [state + np.eye(state.shape[1])[0] * unit * share for share in (0.0, 0.02, 1.0)]
    still, near, far = task.pixels(np.concatenate(moved), 64).astype(int)
    assert np.abs(near - still).max() <= 8
    assert np.abs(far - still).max() >= 60


def test_push_t_shows_what_covers_each_pixel() -> None:
    """Against the shares of agent, block and border among many points of each pixel."""
    task, size, fine = seen("push_t"), 64, 16
    states = states_of(task)[[0, 40, 100, 170, 250, 330]]
    along = (np.arange(size * fine) + 0.5) / (size * fine) * 512
    x, y = np.meshgrid(along, along)
    for state, picture in zip(states, task.pixels(states, size), strict=True):
        right, down = x - state[4], y - state[5]
        cos, sin = np.cos(state[6]), np.sin(state[6])
        u, v = cos * right + sin * down, -sin * right + cos * down
        bar = (np.abs(u) < 60) & (v > 0) & (v < 30)
        stem = (np.abs(u) < 15) & (v > 30) & (v < 120)
        scene = np.empty((*x.shape, 3))
        scene[:] = PAPER
        scene[np.maximum(np.abs(x - 256), np.abs(y - 256)) > 252] = BORDER
        scene[bar | stem] = BLOCK
        scene[np.hypot(x - state[0], y - state[1]) < AGENT_RADIUS] = AGENT
        true = scene.reshape(size, fine, size, fine, 3).mean((1, 3))
        assert np.abs(true - picture).mean() < 0.3
        assert np.abs(true - picture).max() < 40


def test_the_dot_covers_as_much_as_a_disc() -> None:
    task = seen("wall")
    states = np.array([[15.0, 40.0], [15.3, 40.7], [50.0, 20.0]])
    empty = task.pixels(np.array([[np.nan, np.nan]]), 64)[0].astype(float)
    for picture in task.pixels(states, 64):
        share = ((empty - picture) / (empty - np.array([214, 69, 65])))[..., 1].sum()
        assert share == pytest.approx(np.pi * (2 * 64 / 65) ** 2, rel=0.04)


@pytest.mark.parametrize("name", TASKS)
def test_bodies_outside_or_nowhere_are_not_drawn(name: str) -> None:
    task = seen(name)
    states = states_of(task)[:3].copy()
    states[:, [0, 1] if name != "push_t" else [0, 1, 4, 5]] = np.array([[np.nan], [1e9], [-1e4]])
    empty = task.pixels(states, 64)
    assert (empty[0] == empty).all()


@pytest.mark.parametrize("name", TASKS)
def test_proprioception_is_the_agents_own_state(name: str) -> None:
    task = seen(name)
    states = states_of(task)[:60].reshape(5, 12, -1)
    known = task.proprioception(states)
    assert known.shape == (5, 12, task.proprioception_dim)
    assert np.array_equal(known, states[..., : task.proprioception_dim])
    assert np.array_equal(known[..., :2], pose_of(task, states)[..., :2])
