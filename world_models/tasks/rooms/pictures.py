"""Pictures of two rooms as stable-worldmodel and DINO-WM draw them: a red dot that fades, on white, and black walls."""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Bool, Float, UInt8

WIDE, DEVIATION = 224, 7.0
"""Side of TwoRoom's picture and the dot's deviation, px."""
SMALL, SMALL_DEVIATION = 65, 1.7
"""Side of the wall's picture before it is resized, and the dot's deviation there, px."""
BATCH = 64
"""Pictures that are resized at once."""


def two_room_pictures(states: Float[np.ndarray, "n 2"], size: int) -> UInt8[np.ndarray, "n size size 3"]:
    """TwoRoom's images, computed in float32 and cut off to whole numbers as upstream's are: the dot's halo is 254 on white."""
    import torch

    white = np.where(_two_room_walls(), np.float32(0.0), np.float32(255.0))
    grid = np.arange(WIDE, dtype=np.float32)
    drawn = np.empty((len(states), WIDE, WIDE, 3), np.uint8)
    for row, (x, y) in enumerate(states.astype(np.float32)):
        right, down = grid - x, grid - y
        squares = (right * right)[None, :] + (down * down)[:, None]
        dot = torch.exp(torch.from_numpy(-squares / np.float32(2.0 * DEVIATION**2))).numpy()
        alpha = dot / dot.max() if dot.max() > 0.0 else dot
        faded = white * (np.float32(1.0) - alpha)
        drawn[row, ..., 0] = faded + np.float32(255.0) * alpha
        drawn[row, ..., 1:] = faded[..., None]
    return drawn if size == WIDE else _resized(drawn, size)


def wall_pictures(states: Float[np.ndarray, "n 2"], size: int, wall: int, door: int) -> UInt8[np.ndarray, "n size size 3"]:
    """The wall environment's images, rounded: upstream resizes to 224 px and keeps fractions, which differ by at most 0.5."""
    walls = _wall_walls(wall, door)
    grid = np.arange(SMALL, dtype=np.float64)
    drawn = np.empty((len(states), SMALL, SMALL, 3), np.uint8)
    drawn[..., 0] = np.where(walls, 0, 255)
    for row, (x, y) in enumerate(states):
        squares = np.sqrt(((grid - x) ** 2)[None, :] + ((grid - y) ** 2)[:, None]) ** 2
        dot = np.exp(-squares / (2.0 * SMALL_DEVIATION**2))
        red = (dot / max(dot.max(), np.finfo(float).tiny) * 255.0).astype(np.uint8)
        drawn[row, ..., 1:] = np.where(walls, 0, 255 - red)[..., None]
    return _resized(drawn, size)


def _resized(images: UInt8[np.ndarray, "n side side 3"], size: int) -> UInt8[np.ndarray, "n size size 3"]:
    """Images of another size, by torch's bilinear filter against aliasing."""
    import torch
    from torch.nn.functional import interpolate

    result = np.empty((len(images), size, size, 3), np.uint8)
    for first in range(0, len(images), BATCH):
        part = torch.from_numpy(images[first : first + BATCH]).permute(0, 3, 1, 2).contiguous().float()
        found = interpolate(part, (size, size), mode="bilinear", antialias=True, align_corners=False)
        result[first : first + BATCH] = found.round().permute(0, 2, 3, 1).numpy()
    return result


@cache
def _two_room_walls() -> Bool[np.ndarray, "224 224"]:
    """Where TwoRoom is black: eleven columns except 29 in the door, and border lines of 4 px inside 14 px."""
    walls = np.zeros((WIDE, WIDE), bool)
    walls[:, 107:118] = True
    walls[35:64, 107:118] = False
    for line in (slice(10, 14), slice(210, 214)):
        walls[line] = walls[:, line] = True
    return walls


@cache
def _wall_walls(wall: int, door: int) -> Bool[np.ndarray, "65 65"]:
    """Where the wall environment is black: seven columns except nine rows in the door, and lines at 4 and 60."""
    walls = np.zeros((SMALL, SMALL), bool)
    walls[:, wall - 3 : wall + 4] = True
    walls[door - 4 : door + 5, wall - 3 : wall + 4] = False
    for line in (4, 60):
        walls[line] = walls[:, line] = True
    return walls
