"""Motion of DINO-WM's wall environment: straight, and where it meets something, back to half a px before it. Lengths are in px.

Its rules are not those of a rigid body: a point that bounces off a vertical face is also moved 0.5 px down, off a horizontal
one also 0.5 px right, and never onto a line again: then it is put 0.3 px before it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

BORDER, FAR_BORDER = 4.0, 60.0
"""The border's lines in both coordinates."""
WALL_HALF, DOOR_HALF = 3.0, 4.0
"""Half the wall's width and half the door's height."""
BACK, OFF = 0.5, 0.3

Points = Float[np.ndarray, "n 2"]
Numbers = Float[np.ndarray, " n"]
Flags = Bool[np.ndarray, " n"]


def bounce(points: Points, ends: Points, wall: int, door: int) -> Points:
    """Where points arrive that try to move to `ends`.

    Upstream divides by the motion's horizontal part. A motion straight up or down passes the door's edges, here as there. At
    the border it makes upstream's position not a number; here the point bounces as one that moves almost straight does.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        path = _Path(points, ends)
        result = _off_rooms(path, wall, door)
        for edge, way in ((door - DOOR_HALF, -1.0), (door + DOOR_HALF, 1.0)):
            met, places = _door_edge(path, edge, way, wall)
            result = np.where(met[:, None], places, result)
    return result


class _Path:
    """The straight lines from points to their ends."""

    def __init__(self, points: Points, ends: Points) -> None:
        self.points, self.ends = points, ends
        motion = ends - points
        self.slope = motion[:, 1] / motion[:, 0]
        self.offset = points[:, 1] - self.slope * points[:, 0]

    def crosses(self, axis: int, lines: Numbers) -> Flags:
        """Whether points and ends are not strictly on the same side of lines across an axis."""
        return np.sign(self.points[:, axis] - lines) * np.sign(self.ends[:, axis] - lines) <= 0.0

    def at_x(self, lines: Numbers) -> Numbers:
        """Vertical positions at which vertical lines are met."""
        return self.slope * lines + self.offset

    def at_y(self, lines: Numbers) -> Numbers:
        """Horizontal positions at which horizontal lines are met; not a number for a motion straight up or down."""
        return (lines - self.offset) / self.slope


def _door_edge(path: _Path, edge: float, way: float, wall: int) -> tuple[Flags, Points]:
    """Which points leave the door over one of its edges, up (`way` -1) or down, and where they arrive."""
    before, after = way * (path.points[:, 1] - edge), way * (path.ends[:, 1] - edge)
    x = path.at_y(np.full(len(before), edge))
    met = (before < 0.0) & (after > 0.0) & (x >= wall - WALL_HALF) & (x <= wall + WALL_HALF)
    return met, np.stack([x + BACK, np.full(len(x), edge - way * BACK)], -1)


def _off_rooms(path: _Path, wall: int, door: int) -> Points:
    """Where points arrive that can meet the four sides of their room, one of which has the door."""
    in_left = path.points[:, 0] < wall
    low = np.where(in_left, BORDER, wall + WALL_HALF)
    high = np.where(in_left, wall - WALL_HALF, FAR_BORDER)
    left, right = (_side(path, lines, doors, door) for lines, doors in ((low, ~in_left), (high, in_left)))
    top, bottom = (path.crosses(1, np.full(len(low), line)) for line in (BORDER, FAR_BORDER))
    upright, level = left | right, top | bottom
    at_upright = np.where(left, low, high)
    at_level = np.where(top, BORDER, FAR_BORDER)
    first = np.stack([at_upright, _or_own(path.at_x(at_upright), path.points[:, 1])], -1)
    second = np.stack([_or_own(path.at_y(at_level), path.points[:, 0]), at_level], -1)
    nearer = np.linalg.norm(path.points - first, axis=-1) < np.linalg.norm(path.points - second, axis=-1)
    first_met = upright & (~level | nearer)
    away = np.where(first_met, path.points[:, 0] - at_upright, path.points[:, 1] - at_level)
    back = BACK * np.sign(away)
    moved = np.where(
        first_met[:, None],
        first + np.stack([back, np.full(len(back), BACK)], -1),
        second + np.stack([np.full(len(back), BACK), back], -1),
    )
    off_low, off_high = low + OFF, high - OFF
    # Upstream holds the wall's position in an integer tensor, whose sum with a fraction is in float32.
    off_low, off_high = np.where(in_left, off_low, np.float32(off_low)), np.where(in_left, np.float32(off_high), off_high)
    moved[:, 0] = np.select([moved[:, 0] <= low, moved[:, 0] >= high], [off_low, off_high], moved[:, 0])
    lines = [moved[:, 1] <= BORDER, moved[:, 1] >= FAR_BORDER]
    moved[:, 1] = np.select(lines, [BORDER + OFF, FAR_BORDER - OFF], moved[:, 1])
    return np.where((upright | level)[:, None], moved, path.ends)


def _side(path: _Path, lines: Numbers, has_door: Flags, door: int) -> Flags:
    """Which points meet a vertical side of their room, outside of its door if it has one."""
    y = path.at_x(lines)
    return path.crosses(0, lines) & (~has_door | (y < door - DOOR_HALF) | (y > door + DOOR_HALF))


def _or_own(met: Numbers, own: Numbers) -> Numbers:
    """Positions at which lines are met, or the points' own where there is no such number."""
    return np.where(np.isfinite(met), met, own)
