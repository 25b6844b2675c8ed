"""Batches of small images: one background, and shapes blended into it by their coverage of each pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

Colour = tuple[int, int, int]

Coverage = Callable[
    [slice, Float[np.ndarray, "n 1 side"], Float[np.ndarray, "n side 1"]],
    Float[np.ndarray, "n side side"],
]
"""Coverage of each pixel by a shape (<= 0: none, >= 1: all) in a slice of the images, given the offsets of the centres of pixel
columns and rows to the right of and below the shape's position, in pixels."""

_BATCH = 256
"""Images drawn together, few enough to stay in the cache."""


@dataclass(frozen=True)
class Shape:
    """One shape in each image of a batch."""

    positions: Float[np.ndarray, "count 2"]
    """Positions x and y in pixels, y downwards."""
    reach: float
    """Largest extent from its position, in pixels."""
    coverage: Coverage
    colour: Colour


def draw(background: UInt8[np.ndarray, "size size 3"], shapes: Sequence[Shape]) -> UInt8[np.ndarray, "count size size 3"]:
    """Images of the background with shapes drawn over it in order; parts outside are cut off."""
    size, count = len(background), len(shapes[0].positions)
    margin = max(_side(shape) for shape in shapes)
    padded = np.pad(background, ((margin, margin), (margin, margin), (0, 0)))
    result = np.empty((count, size, size, 3), np.uint8)
    for first in range(0, count, _BATCH):
        rows = slice(first, min(first + _BATCH, count))
        pictures = np.repeat(padded[None], rows.stop - first, 0)
        for shape in shapes:
            _stamp(pictures, shape, rows, margin)
        result[rows] = pictures[:, margin : margin + size, margin : margin + size]
    return result


def disc(radius: float) -> Coverage:
    """The coverage of a disc; `radius` in pixels."""

    def coverage(
        _: slice, right: Float[np.ndarray, "n 1 side"], down: Float[np.ndarray, "n side 1"]
    ) -> Float[np.ndarray, "n side side"]:
        """Coverage by the distance to the disc's edge."""
        return radius + 0.5 - np.sqrt(right * right + down * down)

    return coverage


def rotated_boxes(angles: Float[np.ndarray, " count"], boxes: Sequence[tuple[float, float, float, float]]) -> Coverage:
    """The coverage of a union of boxes (left, top, right, bottom, in pixels from the position) rotated from x towards y."""
    cosines, sines = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def coverage(
        rows: slice, right: Float[np.ndarray, "n 1 side"], down: Float[np.ndarray, "n side 1"]
    ) -> Float[np.ndarray, "n side side"]:
        """Coverage by the distances to the boxes' edges, in their own frame."""
        cos, sin = cosines[rows, None, None], sines[rows, None, None]
        x, y = cos * right + sin * down, cos * down - sin * right
        parts = [_between(x, left, far) * _between(y, top, bottom) for left, top, far, bottom in boxes]
        return np.maximum.reduce(parts)

    return coverage


def _between(values: Float[np.ndarray, "n side side"], low: float, high: float) -> Float[np.ndarray, "n side side"]:
    """Fraction of a pixel's width around each value that lies between `low` and `high`."""
    distance = np.abs(values - (low + high) / 2)
    return np.clip((high - low) / 2 + 0.5 - distance, 0.0, min(1.0, high - low), out=distance)


def _side(shape: Shape) -> int:
    """Side in pixels of a patch that holds a shape wherever its position lies within a pixel."""
    return 2 * int(np.ceil(shape.reach + 0.5)) + 1


def _stamp(pictures: UInt8[np.ndarray, "n padded padded 3"], shape: Shape, batch: slice, margin: int) -> None:
    """Blend a shape into padded images, in place."""
    count, padded = pictures.shape[:2]
    side = _side(shape)
    # Positions far outside or NaN: the patch stays in the margin, beyond the shape's reach.
    positions = np.nan_to_num(shape.positions[batch] + margin, nan=-1e6).clip(-1e6, 1e6)
    corners = (np.floor(positions).astype(np.int64) - side // 2).clip(0, padded - side)
    columns, rows = corners[:, 0, None] + np.arange(side), corners[:, 1, None] + np.arange(side)
    right = (columns + 0.5 - positions[:, :1]).astype(np.float32)[:, None, :]
    down = (rows + 0.5 - positions[:, 1:]).astype(np.float32)[:, :, None]
    share = np.clip(shape.coverage(batch, right, down), 0.0, 1.0)[..., None]
    index = (np.arange(count)[:, None, None] * padded + rows[:, :, None]) * padded + columns[:, None, :]
    flat = pictures.reshape(-1, 3)
    before = flat[index].astype(np.float32)
    flat[index] = (before + share * (np.array(shape.colour, np.float32) - before) + 0.5).astype(np.uint8)
