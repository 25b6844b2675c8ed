"""Recorded pictures as models take them: square, of one size, with three colour channels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from world_models.tasks.gym.pictures import square

CHANNELS = (1, 3, 4)
"""Numbers of channels: grey, colours, and colours with an opacity, which is dropped."""


def as_colours(values: Shaped[np.ndarray, "n *shape"]) -> UInt8[np.ndarray, "n height width 3"]:
    """The pictures of a column, with channels first or last, as colours in their own size."""
    last = values if values.shape[3] in CHANNELS else np.moveaxis(values, 1, 3)
    return np.repeat(last, 3, axis=3) if last.shape[3] == 1 else last[..., :3]


def as_pictures(values: Shaped[np.ndarray, "n *shape"], size: int) -> UInt8[np.ndarray, "n size size 3"]:
    """The pictures of a column, with channels first or last, in another size by averages over areas.

    One that is not square is put on a square of its corner's colour, as those of environments are.
    """
    coloured = as_colours(values)
    if coloured.shape[1:3] == (size, size):
        return np.ascontiguousarray(coloured)
    if coloured.shape[1] != coloured.shape[2]:
        return np.stack([square(picture, size, "") for picture in coloured])
    box = Image.Resampling.BOX
    return np.stack([np.asarray(Image.fromarray(np.ascontiguousarray(each)).resize((size, size), box)) for each in coloured])
