"""Pictures of planar scenes: drawn large in their own coordinates, then shrunk, so that edges are smooth; dots in batches."""

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
    """Where points of a scene lie on its picture: fractions of width and height, y downwards (`Drawable`)."""
    left, top, right, bottom = extent
    return ((points - np.array([left, top])) / np.array([right - left, bottom - top]))[..., None, :]


class Canvas:
    """A square picture of a scene: `extent` are its left, top, right and bottom edges (top > bottom when y points up)."""

    def __init__(self, size: int, extent: tuple[float, float, float, float], background: Colour = PAPER) -> None:
        self.size = size
        self.extent = extent
        self.image = Image.new("RGB", (size * OVERSAMPLING, size * OVERSAMPLING), background)
        self.pen = ImageDraw.Draw(self.image)

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the scene lies in the oversampled picture."""
        left, top, right, bottom = self.extent
        full = self.size * OVERSAMPLING
        return (x - left) / (right - left) * full, (y - top) / (bottom - top) * full

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """A filled box between two opposite corners."""
        a, b = self.pixel(x0, y0), self.pixel(x1, y1)
        low, high = np.minimum(a, b), np.maximum(a, b) - 1.0
        if (high >= low).all():
            self.pen.rectangle((*low.tolist(), *high.tolist()), fill=colour)

    def array(self) -> UInt8[np.ndarray, "size size 3"]:
        """The finished picture."""
        return np.asarray(self.image.resize((self.size, self.size), Image.Resampling.BOX), dtype=np.uint8).copy()

    def dots(self, points: Float[np.ndarray, "n 2"], radius: float, colour: Colour) -> UInt8[np.ndarray, "n size size 3"]:
        """A picture for each point: what is drawn so far and a filled disc there; `radius` in scene units."""
        left, top, right, bottom = self.extent
        positions = (points - np.array([left, top])) / np.array([right - left, bottom - top]) * self.size
        reach = radius / abs(right - left) * self.size
        return draw(self.array(), [Shape(positions, reach, disc(reach), colour)])
