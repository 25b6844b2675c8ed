"""Images of planar scenes, drawn large in scene coordinates and then shrunk for smooth edges; dots are drawn in batches."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from world_models.tasks.raster import Colour, Shape, disc, draw

PAPER: Colour = (250, 250, 247)
WALL: Colour = (70, 78, 92)
AGENT: Colour = (214, 69, 65)

OVERSAMPLING = 4


def fractions(
    points: Float[np.ndarray, "*batch 2"], extent: tuple[float, float, float, float]
) -> Float[np.ndarray, "*batch 1 2"]:
    """Positions of a scene's points on its image, as fractions of width and height, y downwards (`Drawable`)."""
    left, top, right, bottom = extent
    return ((points - np.array([left, top])) / np.array([right - left, bottom - top]))[..., None, :]


class Canvas:
    """A square image of a scene: `extent` holds its left, top, right and bottom edges (top > bottom if y points up)."""

    def __init__(self, size: int, extent: tuple[float, float, float, float], background: Colour = PAPER) -> None:
        self.size = size
        self.extent = extent
        self.image = Image.new("RGB", (size * OVERSAMPLING, size * OVERSAMPLING), background)
        self.pen = ImageDraw.Draw(self.image)

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Position of a scene point in the oversampled image."""
        left, top, right, bottom = self.extent
        full = self.size * OVERSAMPLING
        return (x - left) / (right - left) * full, (y - top) / (bottom - top) * full

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """Draw a filled box between two opposite corners."""
        a, b = self.pixel(x0, y0), self.pixel(x1, y1)
        low, high = np.minimum(a, b), np.maximum(a, b) - 1.0
        if (high >= low).all():
            self.pen.rectangle((*low.tolist(), *high.tolist()), fill=colour)

    def array(self) -> UInt8[np.ndarray, "size size 3"]:
        """The finished image."""
        return np.asarray(self.image.resize((self.size, self.size), Image.Resampling.BOX), dtype=np.uint8).copy()

    def dots(self, points: Float[np.ndarray, "n 2"], radius: float, colour: Colour) -> UInt8[np.ndarray, "n size size 3"]:
        """One image per point: the drawing so far with a filled disc at the point; `radius` in scene units."""
        left, top, right, bottom = self.extent
        positions = (points - np.array([left, top])) / np.array([right - left, bottom - top]) * self.size
        reach = radius / abs(right - left) * self.size
        return draw(self.array(), [Shape(positions, reach, disc(reach), colour)])
