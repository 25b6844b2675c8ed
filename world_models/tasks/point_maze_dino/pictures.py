"""Pictures of DINO-WM's point maze, after MuJoCo's own of the same scene: seen from above in perspective, y pointing down.

Upstream draws with mujoco-py, which returns MuJoCo's picture upside down. The floor's squares, the walls' tops and sides and
the ball lie where MuJoCo draws them; their shades are flat or smooth fits, and edges are smoothed by 4 x 4 samples of a pixel.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8

from world_models.tasks.point_maze_dino.physics import OFFSET, ROWS

HEIGHT = 9.734846922834954
"""Height of the camera over the middle of the walls, m: the size that MuJoCo gives to the scene."""
LOOK_AT = np.array([3.0, 2.5])
"""The point of the world below the camera: the median of the shapes' places."""
SPREAD = float(np.tan(np.radians(22.5)))
"""Half of the picture's width at a distance of 1 m."""
TOP, FLOOR = 0.2, -0.1
BALL = 0.2
"""Radius of the ball that is drawn, which is twice that of the one that moves."""
DARK, LIGHT = np.array([25.0, 51.0, 76.0]), np.array([51.0, 76.0, 102.0])
WALL, FADE = np.array([226.9, 165.65, 104.3]), (1.0, 0.0295)
"""Colour of the walls' tops below the camera, and how it fades with the distance's second and fourth power (a fit)."""
SIDE = np.array([71.0, 51.0, 31.0])
GREEN, GLOSS = np.array([0.3, 0.6, 0.3]) * 255.0, 12.0
WALLS = np.array([[mark == "#" for mark in row] for row in ROWS])
"""Which cells are walls."""
SAMPLES = 4
"""Samples in each direction of a pixel."""


def pictures(positions: Float[np.ndarray, "n 2"], size: int) -> UInt8[np.ndarray, "n size size 3"]:
    """Images of balls at positions."""
    background = _background(size)
    result = np.repeat(np.rint(background).astype(np.uint8)[None], len(positions), 0)
    for image, position in zip(result, positions, strict=True):
        _draw_ball(image, background, position + OFFSET)
    return result


def on_image(positions: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
    """Positions of balls on the picture, as fractions of its sides."""
    return 0.5 + (positions + OFFSET - LOOK_AT) / (2.0 * SPREAD * HEIGHT)


@lru_cache(maxsize=4)
def _background(size: int) -> Float[np.ndarray, "size size 3"]:
    """The picture without a ball."""
    rays = _rays(np.arange(size), size)
    x, y = np.meshgrid(rays, rays)
    return _scene(x, y).reshape(size, SAMPLES, size, SAMPLES, 3).mean((1, 3))


def _rays(pixels: np.ndarray, size: int) -> Float[np.ndarray, " samples"]:
    """Slopes of the rays through the samples of pixels along one direction."""
    inside = (np.arange(SAMPLES) + 0.5) / SAMPLES
    return ((pixels[:, None] + inside).reshape(-1) / size * 2.0 - 1.0) * SPREAD


def _scene(x: Float[np.ndarray, "h w"], y: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """Colours that rays of these slopes meet: a wall's top, else a wall's side, else the floor."""
    low = np.stack([x, y], -1) * (HEIGHT - FLOOR) + LOOK_AT
    squares = np.floor(low / 2.0).sum(-1) % 2 != 0
    colours = np.where(squares[..., None], LIGHT, DARK)
    high = np.stack([x, y], -1) * (HEIGHT - TOP) + LOOK_AT
    for share in np.linspace(0.0, 1.0, 5)[:-1]:
        colours = np.where(_in_wall(low + share * (high - low))[..., None], SIDE, colours)
    squared = np.square(high - LOOK_AT).sum(-1)[..., None]
    top = WALL - FADE[0] * squared + FADE[1] * squared**2
    return np.where(_in_wall(high)[..., None], top, colours)


def _in_wall(points: Float[np.ndarray, "*batch 2"]) -> np.ndarray:
    """Whether points of the world are in a wall's cell."""
    cells = np.floor(points - 0.5).astype(int)
    inside = ((cells >= 0) & (cells < len(ROWS))).all(-1)
    kept = np.clip(cells, 0, len(ROWS) - 1)
    return inside & WALLS[kept[..., 0], kept[..., 1]]


def _draw_ball(image: UInt8[np.ndarray, "size size 3"], background: np.ndarray, centre: Float[np.ndarray, " 2"]) -> None:
    """Draw a ball over the background, in a window around it."""
    size = len(image)
    offset = centre - LOOK_AT
    middle = (0.5 + offset / (2.0 * SPREAD * HEIGHT)) * size
    reach = 1.2 * BALL / (2.0 * SPREAD * HEIGHT) * size + 1.0
    first, last = (np.clip(middle - reach, 0, size).astype(int), np.clip(middle + reach + 1.0, 0, size).astype(int))
    if (last <= first).any():
        return
    x, y = np.meshgrid(*(_rays(np.arange(first[axis], last[axis]), size) for axis in (0, 1)))
    # The nearer meeting of the ray (x, y, -1) t from the camera with the ball around (offset, -HEIGHT).
    square, along = x * x + y * y + 1.0, x * offset[0] + y * offset[1] + HEIGHT
    rest = along**2 - square * (float(offset @ offset) + HEIGHT**2 - BALL**2)
    near = (along - np.sqrt(np.maximum(rest, 0.0))) / square
    up = np.clip((HEIGHT - near) / BALL, -1.0, 1.0)
    shade = np.minimum(GREEN * (0.4 + 0.8 * up[..., None]) + GLOSS * np.maximum(up[..., None], 0.0) ** 8, 255.0)
    slopes = np.stack([x, y], -1)
    hidden = _in_wall(slopes * (HEIGHT - TOP) + LOOK_AT) | _in_wall(slopes * near[..., None] + LOOK_AT)
    met = ((rest > 0.0) & ~hidden)[..., None]
    window = tuple(slice(first[axis], last[axis]) for axis in (1, 0))
    rows, columns = (len(range(*each.indices(size))) for each in window)
    drawn = np.where(met, shade, np.repeat(np.repeat(background[window], SAMPLES, 0), SAMPLES, 1))
    image[window] = np.rint(drawn.reshape(rows, SAMPLES, columns, SAMPLES, 3).mean((1, 3)))
