"""Planar geometry of axis-aligned boxes, vectorised over points: exact sliding motion, shortest paths, and tasks with such."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

Points = Float[np.ndarray, "n 2"]
Box = tuple[float, float, float, float]
"""A solid box as x0, y0, x1, y1. Its boundary counts as free: a point may rest on a face."""

FAR = 1e9
"""Stand-in for infinity, for boxes that are unbounded on a side."""


def first_contact(
    points: Points, motions: Points, box: Box
) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """First contact of the segments from `points` by `motions` with the box: (hit, fraction of the motion, face of constant x).

    Points must not be inside. A segment that only touches the boundary is not a hit.
    """
    low, high = np.array(box[:2]), np.array(box[2:])
    still = motions == 0.0
    within = (points > low) & (points < high)
    safe = np.where(still, 1.0, motions)
    with np.errstate(over="ignore"):
        a, b = (low - points) / safe, (high - points) / safe
    enter = np.where(still, np.where(within, -np.inf, np.inf), np.minimum(a, b))
    leave = np.where(still, np.where(within, np.inf, -np.inf), np.maximum(a, b))
    first, last = enter.max(1), leave.min(1)
    hit = (first < last) & (first < 1.0) & (last > 0.0)
    # Rounding may put an end inside although the quotient puts it before the face.
    ends = points + motions
    hit |= ((ends > low) & (ends < high)).all(1)
    return hit, np.maximum(first, 0.0), enter[:, 0] >= enter[:, 1]


def slide(points: Points, motions: Points, boxes: tuple[Box, ...]) -> Points:
    """End positions of points that move straight until they meet a box and then slide along its face for the rest of the
    motion.

    Exact for motions of any length. A point that slides on one box must not meet another one.
    """
    ends = points + motions
    nearest = np.full(len(points), np.inf)
    for box in boxes:
        hit, fraction, by_x = first_contact(points, motions, box)
        closer = hit & (fraction < nearest)
        nearest = np.where(closer, fraction, nearest)
        face = np.where(motions > 0.0, np.array(box[:2]), np.array(box[2:]))
        blocked = np.stack([closer & by_x, closer & ~by_x], 1)
        ends = np.where(closer[:, None], np.where(blocked, face, points + motions), ends)
    return ends


def blocked(starts: Points, ends: Points, boxes: tuple[Box, ...]) -> Bool[np.ndarray, " n"]:
    """Whether the straight segments pass through the interior of any box."""
    result = np.zeros(len(starts), dtype=bool)
    for box in boxes:
        result |= first_contact(starts, ends - starts, box)[0]
    return result


def path_length(paths: Float[np.ndarray, "n corners 2"]) -> Float[np.ndarray, " n"]:
    """Length of each polyline."""
    legs = np.diff(paths, axis=1)
    return np.hypot(legs[..., 0], legs[..., 1]).sum(1)


def shortest_paths(
    starts: Points, ends: Points, boxes: tuple[Box, ...], ways: tuple[Float[np.ndarray, "_ 2"], ...]
) -> Float[np.ndarray, "n corners 2"]:
    """The shortest of the straight segment and the polylines via the corners in `ways` that no box blocks.

    Polylines are padded to one length by repeating their end. If all are blocked, the result is the straight segment.
    """
    corners = 2 + max((len(way) for way in ways), default=0)
    best = np.repeat(ends[:, None], corners, 1)
    best[:, 0] = starts
    shortest = np.where(blocked(starts, ends, boxes), np.inf, path_length(best))
    for way in ways:
        path = np.repeat(ends[:, None], corners, 1)
        path[:, 0] = starts
        path[:, 1 : 1 + len(way)] = way
        length = path_length(path)
        better = length < shortest
        for leg in range(len(way) + 1):
            better &= ~blocked(path[:, leg], path[:, leg + 1], boxes)
        best = np.where(better[:, None, None], path, best)
        shortest = np.where(better, length, shortest)
    return best


def walk(path: Float[np.ndarray, "corners 2"], steps: int, stride: float) -> Float[np.ndarray, "steps 2"]:
    """Displacements of `steps` evenly spread steps of at most `stride` along a polyline, which land on every corner.

    Raises ValueError if the steps do not suffice.
    """
    legs = np.diff(path, axis=0)
    lengths = np.hypot(legs[:, 0], legs[:, 1])
    legs, lengths = legs[lengths > 0.0], lengths[lengths > 0.0]
    counts = np.ceil(lengths / stride - 1e-9).astype(int)
    if counts.sum() > steps or len(legs) == 0:
        raise ValueError(f"a path of {lengths.sum():.2f} takes more than {steps} steps of {stride}")
    for _ in range(steps - int(counts.sum())):
        counts[np.argmax(lengths / counts)] += 1
    return np.concatenate([np.repeat(leg[None] / n, n, 0) for leg, n in zip(legs, counts, strict=True)])


@runtime_checkable
class PathDistance(Protocol):
    """A task that can compute the length of the shortest path between two poses, for assessing goal costs."""

    @property
    def distance_bands(self) -> tuple[float, ...]:
        """Lower edges of the distance bands in which goal costs are assessed, starting at 0; the last band is open."""
        ...

    def path_distance(self, poses: Float[np.ndarray, "n pose"], goals: Float[np.ndarray, "n pose"]) -> Float[np.ndarray, " n"]:
        """Length of the shortest path, in `distance_unit`."""
        ...
