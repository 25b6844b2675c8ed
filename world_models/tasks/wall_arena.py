"""The arena of task wall: its geometry, free space, motion with sliding contact and shortest paths. Lengths are in px."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from world_models.tasks.geometry import FAR, blocked, path_length, shortest_paths, slide

SIZE = 65.0
"""Side of the arena including its border."""
LOW, HIGH = 5.0, 60.0
"""Limits of positions in both coordinates."""
WALL_LEFT, WALL_RIGHT = 29.0, 35.0
DOOR_LOW, DOOR_HIGH = 6.0, 14.0
"""Edges of the door, which is centred at y = 10 with half height 4."""
SOLIDS = ((WALL_LEFT, -FAR, WALL_RIGHT, DOOR_LOW), (WALL_LEFT, DOOR_HIGH, WALL_RIGHT, FAR))
"""The wall above and below the door, unbounded outwards so that no single step can pass around it."""
CLEARANCE = 0.5
"""Distance of scripted paths from the door's corners, in both coordinates."""
DETOUR = 1.0
"""Excess length over the straight line above which a path counts as a detour."""

LONG_WAY = 1.5
"""Ratio to the straight distance above which a detour is deep."""

KINDS: Mapping[str, float] = {"free": 45.0, "shallow": 60.0, "deep": 75.0, "any": 60.0}
"""Problem kinds, with the path length that counts as far at any horizon, because the arena is bounded.

Kinds by the shortest path from start to goal:
- `free`: the straight line;
- `shallow`: a detour around the wall, at most `LONG_WAY` times the straight distance, whose first leg does not lead away from
  the goal (first leg . (goal - start) >= 0);
- `deep`: a longer detour, or one whose first leg leads away from the goal: a greedy approach ends in a dead end;
- `any`: any of these.
"""


def _ways() -> tuple[Float[np.ndarray, "_ 2"], ...]:
    """Corners of paths around the wall: one corner of the door, or one corner on each side."""
    ys = (DOOR_LOW + CLEARANCE, DOOR_HIGH - CLEARANCE)
    left = [np.array([WALL_LEFT - CLEARANCE, y]) for y in ys]
    right = [np.array([WALL_RIGHT + CLEARANCE, y]) for y in ys]
    through = [np.stack(pair) for a in left for b in right for pair in ((a, b), (b, a))]
    return (*(corner[None] for corner in left + right), *through)


WAYS = _ways()


def advance(points: Float[np.ndarray, "n 2"], motions: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """End positions of free points that try to move by `motions`: they slide along the wall and stop at the border."""
    return np.clip(slide(points, motions, SOLIDS), LOW, HIGH)


def inside_wall(points: Float[np.ndarray, "*batch 2"]) -> Bool[np.ndarray, "*batch"]:
    """Whether points lie strictly inside the solid part of the wall."""
    x, y = points[..., 0], points[..., 1]
    return (x > WALL_LEFT) & (x < WALL_RIGHT) & ((y < DOOR_LOW) | (y > DOOR_HIGH))


def free_points(rng: np.random.Generator, count: int) -> Float[np.ndarray, "count 2"]:
    """Points drawn uniformly from the free space."""
    points = rng.uniform(LOW, HIGH, (count, 2))
    while (bad := inside_wall(points)).any():
        points[bad] = rng.uniform(LOW, HIGH, (int(bad.sum()), 2))
    return points


def geodesics(
    starts: Float[np.ndarray, "n 2"], goals: Float[np.ndarray, "n 2"]
) -> tuple[Float[np.ndarray, "n corners 2"], Float[np.ndarray, " n"]]:
    """Shortest paths between free points (corners padded by repeating the goal) and their lengths."""
    paths = shortest_paths(starts, goals, SOLIDS, WAYS)
    return paths, path_length(paths)


def of_kind(kind: str, paths: Float[np.ndarray, "n corners 2"]) -> Bool[np.ndarray, " n"]:
    """Whether shortest paths belong to problems of a kind (see `KINDS`)."""
    straight = paths[:, -1] - paths[:, 0]
    free = ~blocked(paths[:, 0], paths[:, -1], SOLIDS)
    away = ((paths[:, 1] - paths[:, 0]) * straight).sum(1) < 0.0
    length, distance = path_length(paths), np.hypot(straight[:, 0], straight[:, 1])
    detour = ~free & (length - distance > DETOUR)
    astray = away | (length > LONG_WAY * distance)
    return {"free": free, "shallow": detour & ~astray, "deep": detour & astray, "any": np.ones_like(free)}[kind]
