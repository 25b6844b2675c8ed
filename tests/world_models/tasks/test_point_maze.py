"""Task point_maze: the package's mazes and physics, exact restarts, ways through the maze, broad behaviour."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse.csgraph import shortest_path

from world_models.errors import UserError
from world_models.tasks import make_task
from world_models.tasks.base import execute
from world_models.tasks.maze_behaviour import sample_starts
from world_models.tasks.maze_grid import LAYOUTS, grid
from world_models.tasks.maze_physics import RADIUS, TOP_SPEED, Stepper, model
from world_models.tasks.point_maze import PointMaze

MAZES = list(LAYOUTS)


@pytest.fixture(params=MAZES)
def maze(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def package_env(maze: str) -> Iterator[Any]:
    """gymnasium-robotics' own environment; importing the package warns about some of its other environments."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from gymnasium_robotics.envs.maze import maps
        from gymnasium_robotics.envs.maze.point_maze import PointMazeEnv

    env = PointMazeEnv(maze_map={"umaze": maps.U_MAZE, "medium": maps.MEDIUM_MAZE}[maze])
    Path(env.tmp_xml_file_path).unlink()
    env.reset(seed=0)
    yield env
    env.close()


def test_mazes_and_model_are_the_packages(maze: str, package_env: Any) -> None:
    theirs = np.array(package_env.maze.maze_map) == 1
    assert np.array_equal(grid(maze).walls, theirs)
    centres = [package_env.maze.cell_rowcol_to_xy(cell) for cell in grid(maze).cells]
    assert np.array_equal(grid(maze).centres, centres)
    ours = model(maze)
    for name in ("geom_pos", "geom_size", "geom_type", "body_mass", "dof_damping", "actuator_gear", "actuator_ctrlrange"):
        assert np.array_equal(getattr(ours, name), getattr(package_env.model, name)), name
    assert ours.opt.timestep == package_env.model.opt.timestep


def test_steps_are_the_packages(maze: str, package_env: Any) -> None:
    """The steps push into walls and reach top speed, from the environment's initial state."""
    task, point = PointMaze(maze), package_env.point_env
    rng = np.random.default_rng(0)
    for start in sample_starts(rng, grid(maze), 8):
        actions = np.repeat(np.clip(rng.uniform(-2.0, 2.0, (10, 2)), -1.0, 1.0), 15, 0)
        package_env.reset(seed=0)
        point.set_state(start[:2], start[2:])
        theirs = np.array([point.step(action)[0] for action in actions])
        ours = task.simulate(start[None], actions[None])[0, 1:]
        assert np.abs(ours - theirs).max() < 1e-9
        assert np.abs(ours[:, 2:]).max() > TOP_SPEED / 2


def test_no_trace_is_left_between_rows_and_calls(maze: str) -> None:
    """A buffer that has been through hard contact steps like a fresh one."""
    used = Stepper(maze)
    starts = sample_starts(np.random.default_rng(1), grid(maze), 50)
    states = starts
    for _ in range(20):
        states = used.advance(states, np.ones((50, 2)))
    assert np.array_equal(used.advance(starts, -np.ones((50, 2))), Stepper(maze).advance(starts, -np.ones((50, 2))))


def test_velocities_are_limited_before_a_step() -> None:
    task = PointMaze()
    centre = grid("umaze").centres[1]
    start = np.array([[*centre, 9.0, -9.0], [*centre, TOP_SPEED, -TOP_SPEED]])
    states = task.simulate(start, np.zeros((2, 1, 2)))
    assert np.array_equal(states[0, 1], states[1, 1])


def test_the_ball_never_leaves_the_maze(maze: str) -> None:
    rng = np.random.default_rng(2)
    starts = sample_starts(rng, grid(maze), 60)
    assert grid(maze).is_free(starts[:, :2], RADIUS - 1e-9).all()
    held = np.repeat(rng.choice([-1.0, 1.0], (60, 4, 2)), 40, 1)
    points = PointMaze(maze).simulate(starts, held)[..., :2].reshape(-1, 2)
    assert not grid(maze).is_wall(points).any()


def test_ways_are_shortest(maze: str) -> None:
    layout = grid(maze)
    apart = np.abs(layout.cells[:, None] - layout.cells[None]).sum(2)
    expected = shortest_path((apart == 1).astype(float), unweighted=True)
    assert np.array_equal(layout.steps, expected)
    here = np.arange(len(layout.cells))
    for goal in here:
        after = layout.following[:, goal]
        others = here != goal
        assert (layout.steps[after, goal] == layout.steps[:, goal] - 1)[others].all()
        assert (apart[here, after] == 1)[others].all()
        direction = layout.lookahead[:, goal]
        assert (np.abs(layout.cells[direction] - layout.cells[here]).min(1) == 0).all(), "straight ahead"
        assert (layout.steps[direction, goal] <= layout.steps[after, goal]).all()
    assert np.array_equal(layout.index_of(layout.centres + 0.4), here)


def test_distance_through_the_maze() -> None:
    layout = grid("umaze")
    ends = layout.position(np.array([[1, 1], [3, 1]]))
    assert layout.distance(ends[:1], ends[1:])[0] == pytest.approx(6.0)
    assert np.hypot(*(ends[0] - ends[1])) == pytest.approx(2.0)
    near = ends[:1] + np.array([[0.3, -0.4]])
    assert layout.distance(ends[:1], near)[0] == pytest.approx(0.5)


def test_longer_horizons_ask_for_longer_ways(maze: str) -> None:
    task, means = PointMaze(maze), []
    for horizon in (40, 80, 120):
        problems = [task.problem(seed, horizon) for seed in range(10)]
        begin, end = np.stack([p.start[:2] for p in problems]), np.stack([p.goal[:2] for p in problems])
        assert all((p.start[2:] == 0.0).all() for p in problems)
        assert (task.distance(begin, end) > 0.65).all()
        means.append(task.layout.distance(begin, end).mean())
    assert means[0] > 0.7
    assert means[1] > 1.6
    assert means[2] > 2.5


def test_references_move_all_the_time() -> None:
    task = PointMaze("medium")
    problems = [task.problem(seed, 100) for seed in range(6)]
    states = execute(task, problems, np.stack([p.reference_actions for p in problems])).states
    speed = np.hypot(states[..., 2], states[..., 3])
    assert (speed[:, 20:].mean(1) > 1.0).all()


def test_horizons_that_are_too_short_are_refused(maze: str) -> None:
    with pytest.raises(UserError, match=f"no problem of 10 steps in '{maze}'"):
        PointMaze(maze).problem(0, 10)
    with pytest.raises(UserError, match="did you mean 'medium'"):
        make_task("point_maze", maze="meduim")


def test_behaviour_covers_cells_contact_and_speeds(maze: str) -> None:
    task = PointMaze(maze)
    states, actions = task.sample(np.random.default_rng(0), 200, 60)
    points, speeds = states[..., :2].reshape(-1, 2), np.abs(states[..., 2:])
    visits = np.bincount(task.layout.index_of(points), minlength=len(task.layout.cells))
    assert (visits > 0.2 * visits.mean()).all()
    assert (~task.layout.is_free(points, RADIUS + 0.002)).mean() > 0.03, "contact"
    assert (speeds > 3.0).mean() > 0.02
    assert (speeds < 0.3).mean() > 0.1
    assert (np.abs(actions) == 1.0).mean() > 0.05


def test_simulating_loads_no_environment_package_and_prints_nothing() -> None:
    code = (
        "import sys, numpy as np; from world_models.tasks import make_task; t = make_task('point_maze');"
        "t.problem(0, 40); t.render(np.zeros(4)); assert 'gymnasium_robotics' not in sys.modules"
    )
    root = Path(__file__).parents[3]
    out = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, cwd=root, check=True)
    assert out.stdout == out.stderr == b""


def test_the_picture_shows_the_ball_where_it_is(maze: str) -> None:
    task = PointMaze(maze)
    height, width = task.layout.walls.shape
    for x, y in task.layout.centres[[0, -1]]:
        picture = task.render(np.array([x, y, 0.0, 0.0]), 80).astype(int)
        row, column = np.argwhere((picture[..., 0] > 180) & (picture[..., 1] < 110)).mean(0) + 0.5
        assert column / 80 * width - width / 2 == pytest.approx(x, abs=0.05)
        assert height / 2 - row / 80 * height == pytest.approx(y, abs=0.05)
