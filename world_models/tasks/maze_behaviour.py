"""Behaviour in mazes: following shortest paths for problems, and broad, contact-rich behaviour for training."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from world_models.seeding import smooth_noise
from world_models.tasks.maze_grid import Grid
from world_models.tasks.maze_physics import RADIUS, TOP_SPEED

NOISE = 0.25
"""Largest offset of starts and targets from a cell's centre in each coordinate, as in gymnasium-robotics, m."""
ARRIVED = 0.3
"""Distance to its target at which a follower draws another one, m."""

WANDER, HOLD, FOLLOW, GREEDY, COAST = range(5)
"""Behaviour modes of a row: smooth random force; one held force (also into walls); a path to a far point; straight towards a
far point, whatever lies between; no force."""
SHARES = (0.27, 0.2, 0.33, 0.15, 0.05)
SWITCH = 1.0 / 25.0
"""Probability per step of switching the mode."""


@runtime_checkable
class Advances(Protocol):
    """Physics of a ball in a maze."""

    def advance(self, states: Float[np.ndarray, "n 4"], actions: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 4"]:
        """States one action later; `states` are (x, y, velocity x, velocity y)."""
        ...


def near_cells(rng: np.random.Generator, maze: Grid, cells: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
    """Points near the centres of cells."""
    return maze.centres[cells] + rng.uniform(-NOISE, NOISE, (len(cells), 2))


def steer(
    states: Float[np.ndarray, "n 4"], waypoints: Float[np.ndarray, "n 2"], pace: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 2"]:
    """Forces that bring the ball to `waypoints` at `pace` m/s at most, slowing down on arrival."""
    offset = waypoints - states[:, :2]
    far = np.hypot(offset[:, 0], offset[:, 1])
    wanted = offset * (np.minimum(pace, 5.0 * far) / np.maximum(far, 1e-9))[:, None]
    return np.clip(wanted - states[:, 2:], -1.0, 1.0)


def next_waypoints(maze: Grid, points: Float[np.ndarray, "n 2"], targets: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Next waypoints on the path from `points` to `targets` through the maze."""
    here, goal = maze.index_of(points), maze.index_of(targets)
    lookahead = maze.lookahead[here, goal]
    return np.where((lookahead == goal)[:, None], targets, maze.centres[lookahead])


def far_cells(rng: np.random.Generator, maze: Grid, points: Float[np.ndarray, "n 2"], least: int) -> Int[np.ndarray, " n"]:
    """A cell for each point, drawn from those at least `least` cells away (or the farthest if there are none)."""
    steps = maze.steps[maze.index_of(points)]
    enough = steps >= np.minimum(least, steps.max(1))[:, None]
    return (rng.random(steps.shape) * enough).argmax(1)


def follow(
    rng: np.random.Generator, maze: Grid, stepper: Advances, starts: Float[np.ndarray, "n 4"], horizon: int, least: int
) -> tuple[Float[np.ndarray, "n time_plus_one 4"], Float[np.ndarray, "n time 2"]]:
    """States and actions of rows that follow shortest paths to one random far point after another without stopping."""
    count = len(starts)
    states, actions = np.empty((count, horizon + 1, 4)), np.empty((count, horizon, 2))
    states[:, 0] = starts
    pace = rng.uniform(2.5, 4.0, count)
    targets = near_cells(rng, maze, far_cells(rng, maze, starts[:, :2], least))
    for t in range(horizon):
        now = states[:, t]
        arrived = np.hypot(*(targets - now[:, :2]).T) < ARRIVED
        if arrived.any():
            fresh = near_cells(rng, maze, far_cells(rng, maze, now[:, :2], least))
            targets = np.where(arrived[:, None], fresh, targets)
        actions[:, t] = steer(now, next_waypoints(maze, now[:, :2], targets), pace)
        states[:, t + 1] = stepper.advance(now, actions[:, t])
    return states, actions


def free_points(rng: np.random.Generator, maze: Grid, count: int) -> Float[np.ndarray, "count 2"]:
    """Uniform positions where the ball fits; a third of them at or near a wall if their cell has one."""
    limit = np.array(maze.walls.shape[::-1]) / 2
    points = rng.uniform(-limit, limit, (count, 2))
    while (bad := ~maze.is_free(points, RADIUS)).any():
        points[bad] = rng.uniform(-limit, limit, (int(bad.sum()), 2))
    row, column = maze.cell_of(points).T
    down, right = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])[rng.integers(0, 4, count)].T
    near_wall = maze.walls[row + down, column + right] & (rng.random(count) < 1 / 3)
    gap = 0.5 - RADIUS - rng.exponential(0.02, count) * (rng.random(count) < 0.6)
    middle = maze.position(np.stack([row, column], 1))
    direction = np.stack([right, -down], 1)
    moved = np.where(direction != 0, middle + direction * gap[:, None], points)
    return np.where(near_wall[:, None], moved, points)


def sample_starts(rng: np.random.Generator, maze: Grid, count: int) -> Float[np.ndarray, "count 4"]:
    """Free positions with velocities: a third at rest, half moderate, the others up to the top speed."""
    speed = rng.choice(3, count, p=[0.33, 0.47, 0.2])[:, None]
    moderate, fast = rng.normal(0.0, 1.5, (count, 2)), rng.uniform(-TOP_SPEED, TOP_SPEED, (count, 2))
    velocity = np.where(speed == 0, 0.0, np.where(speed == 1, moderate, fast))
    return np.concatenate([free_points(rng, maze, count), np.clip(velocity, -TOP_SPEED, TOP_SPEED)], 1)


def sample_behaviour(
    rng: np.random.Generator, maze: Grid, stepper: Advances, count: int, length: int
) -> tuple[Float[np.ndarray, "count time_plus_one 4"], Float[np.ndarray, "count length 2"]]:
    """States before and after each action, and actions within [-1, 1], drawn only from `rng`."""
    noise = smooth_noise(rng, count, length, 2, memory=0.93)
    loudness = rng.uniform(0.2, 1.3, (count, 1))
    jitter = rng.choice([0.0, 0.1, 0.4], (count, 1))
    states, actions = np.empty((count, length + 1, 4)), np.empty((count, length, 2))
    states[:, 0] = sample_starts(rng, maze, count)
    modes = np.zeros(count, dtype=int)
    held, targets, pace = np.zeros((count, 2)), np.zeros((count, 2)), np.ones(count)
    for t in range(length):
        switch = rng.random(count) < (1.0 if t == 0 else SWITCH)
        modes = np.where(switch, rng.choice(len(SHARES), count, p=SHARES), modes)
        held = np.where(switch[:, None], np.clip(1.6 * rng.uniform(-1.0, 1.0, (count, 2)), -1.0, 1.0), held)
        targets = np.where(switch[:, None], near_cells(rng, maze, rng.integers(0, len(maze.cells), count)), targets)
        pace = np.where(switch, rng.uniform(0.5, 5.0, count), pace)
        mode = modes[:, None]
        now = states[:, t]
        waypoints = np.where(mode == FOLLOW, next_waypoints(maze, now[:, :2], targets), targets)
        going = (mode == FOLLOW) | (mode == GREEDY)
        intended = np.where(going, steer(now, waypoints, pace), np.where(mode == HOLD, held, 0.0))
        volume = np.where(mode == WANDER, loudness, np.where(mode == COAST, 0.0, jitter))
        actions[:, t] = np.clip(intended + volume * noise[:, t], -1.0, 1.0)
        states[:, t + 1] = stepper.advance(now, actions[:, t])
    return states, actions
