"""Training behaviour for task wall: broad in space, and rich in contact with wall, door and border."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from world_models.seeding import smooth_noise
from world_models.tasks.wall_arena import (
    DOOR_HIGH,
    DOOR_LOW,
    HIGH,
    LOW,
    WALL_LEFT,
    WALL_RIGHT,
    advance,
    free_points,
    geodesics,
    inside_wall,
)

WANDER, HOLD, PUSH, GREEDY, WAY, REST = range(6)
"""Behaviour modes of a row: smooth noise; one held action; a push against the wall; straight to a far point (often into the
wall); to a far point through the door; rest with little noise."""
SHARES = (0.25, 0.2, 0.2, 0.15, 0.17, 0.03)
SWITCH = 1.0 / 15.0
"""Probability per step of switching the mode."""


def sample_starts(rng: np.random.Generator, count: int) -> Float[np.ndarray, "count 2"]:
    """Free points: 40 % anywhere, 25 % at the wall, 20 % near the door, 15 % at the border; many exactly in contact."""
    points = free_points(rng, count)
    region = rng.choice(4, count, p=[0.4, 0.25, 0.2, 0.15])
    off = np.where(rng.random(count) < 0.4, 0.0, rng.exponential(1.5, count))
    at_wall = region == 1
    left = rng.random(count) < 0.5
    points[at_wall, 0] = np.where(left, WALL_LEFT - off, WALL_RIGHT + off)[at_wall]
    at_door = region == 2
    points[at_door] = rng.uniform((WALL_LEFT - 4.0, LOW), (WALL_RIGHT + 4.0, DOOR_HIGH + 6.0), (count, 2))[at_door]
    edge = np.where(left, DOOR_LOW, DOOR_HIGH)
    in_wall = inside_wall(points)
    points[in_wall, 1] = edge[in_wall]
    at_border = region == 3
    axis = rng.integers(0, 2, count)
    side = np.where(left, LOW + off, HIGH - off)
    points[at_border, axis[at_border]] = side[at_border]
    points = np.clip(points, LOW, HIGH)
    in_wall = inside_wall(points)
    points[in_wall, 1] = DOOR_HIGH
    return points


def _held_actions(
    rng: np.random.Generator, modes: Int[np.ndarray, " n"], points: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 2"]:
    """The action that each row holds while its mode lasts (targets are separate)."""
    count = len(points)
    held = np.clip(1.6 * rng.uniform(-1.0, 1.0, (count, 2)), -1.0, 1.0)
    in_door = (points[:, 0] > WALL_LEFT) & (points[:, 0] < WALL_RIGHT)
    strength = rng.uniform(0.2, 1.0, count)
    across = np.where(points[:, 0] <= WALL_LEFT, strength, -strength)
    up_or_down = np.where(rng.random(count) < 0.5, strength, -strength)
    push = np.stack(
        [np.where(in_door, 0.3 * held[:, 0], across), np.where(in_door, up_or_down, held[:, 1] * rng.random(count))], 1
    )
    held = np.where((modes == PUSH)[:, None], push, held)
    return np.where((modes == REST)[:, None], 0.0, held)


def sample_behaviour(
    rng: np.random.Generator, count: int, length: int, speed: float
) -> tuple[Float[np.ndarray, "count time_plus_one 2"], Float[np.ndarray, "count length 2"]]:
    """Positions before and after each action, and actions within [-1, 1], drawn only from `rng`."""
    noise = smooth_noise(rng, count, length, 2)
    loudness = rng.uniform(0.3, 1.2, (count, 1))
    jitter = rng.choice([0.0, 0.05, 0.3], (count, 1))
    states, actions = np.empty((count, length + 1, 2)), np.empty((count, length, 2))
    states[:, 0] = sample_starts(rng, count)
    modes = np.zeros(count, dtype=int)
    held, targets, pace = np.zeros((count, 2)), np.zeros((count, 2)), np.ones(count)
    for t in range(length):
        points = states[:, t]
        switch = rng.random(count) < (1.0 if t == 0 else SWITCH)
        modes = np.where(switch, rng.choice(len(SHARES), count, p=SHARES), modes)
        held = np.where(switch[:, None], _held_actions(rng, modes, points), held)
        targets = np.where(switch[:, None], free_points(rng, count), targets)
        pace = np.where(switch, np.minimum(1.0, rng.uniform(0.3, 1.5, count)), pace)
        waypoints = targets.copy()
        by_way = modes == WAY
        waypoints[by_way] = geodesics(points[by_way], targets[by_way])[0][:, 1]
        wanted = (waypoints - points) / speed
        wanted *= (pace / np.maximum(np.abs(wanted).max(1), pace))[:, None]
        going = (by_way | (modes == GREEDY))[:, None]
        wandering = (modes == WANDER)[:, None]
        intended = np.where(going, wanted, np.where(wandering, 0.0, held))
        actions[:, t] = np.clip(intended + np.where(wandering, loudness, jitter) * noise[:, t], -1.0, 1.0)
        states[:, t + 1] = advance(points, speed * actions[:, t])
    return states, actions
