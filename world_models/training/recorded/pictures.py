"""The pictures of a dataset as a model takes them: square, of its size, with three colour channels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from world_models.datasets import Column, Episodes, Role, columns_with
from world_models.errors import UnknownNameError, UserError
from world_models.tasks.gym.pictures import square

CHANNELS = (1, 3, 4)
"""Numbers of channels: grey, colours, and colours with an opacity, which is dropped."""


def picture_column(data: Episodes, name: str | None = None) -> str:
    """The named column, else the only one with pictures.

    Raises UserError, with the columns, for one that holds none, and where none or several do.
    """
    if name is not None:
        if name not in data.columns:
            raise UnknownNameError(f"column of {data.path}", name, data.columns)
        if not _holds_pictures(data.columns[name]):
            column = data.columns[name]
            raise UserError(
                f"column {name!r} of {data.path} is {column.dtype} {list(column.shape)}, and pictures of bytes, [height, "
                "width, channels] or [channels, height, width], are expected: name another with recorded.pixels=NAME."
            )
        return name
    found = [each for each in columns_with(data, Role.PIXELS) if _holds_pictures(data.columns[each])]
    if len(found) != 1:
        words = f"{len(found)} columns of pictures ({', '.join(found)})" if found else "no column of pictures"
        listed = ", ".join(f"{each} {list(column.shape)}" for each, column in data.columns.items()) or "none"
        remedy = "name one with recorded.pixels=NAME" if found else "give a dataset with pictures, or train a model of states"
        raise UserError(f"{data.path} has {words}; its columns are {listed}: {remedy}.")
    return found[0]


def as_pictures(values: Shaped[np.ndarray, "n *shape"], size: int) -> UInt8[np.ndarray, "n size size 3"]:
    """The pictures of a column, with channels first or last, in another size by averages over areas.

    One that is not square is put on a square of its corner's colour, as those of environments are.
    """
    last = values if values.shape[3] in CHANNELS else np.moveaxis(values, 1, 3)
    coloured = np.repeat(last, 3, axis=3) if last.shape[3] == 1 else last[..., :3]
    if coloured.shape[1:3] == (size, size):
        return np.ascontiguousarray(coloured)
    if coloured.shape[1] != coloured.shape[2]:
        return np.stack([square(picture, size, "") for picture in coloured])
    box = Image.Resampling.BOX
    return np.stack([np.asarray(Image.fromarray(np.ascontiguousarray(each)).resize((size, size), box)) for each in coloured])


def _holds_pictures(column: Column) -> bool:
    shape = column.shape
    return column.dtype == "uint8" and len(shape) == 3 and (shape[2] in CHANNELS or shape[0] in CHANNELS) and min(shape) > 0
