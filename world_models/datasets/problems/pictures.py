"""The column of a dataset that holds the pictures which a model sees."""

from __future__ import annotations

from world_models.datasets import Column, Episodes, Role, columns_with
from world_models.errors import UnknownNameError, UserError
from world_models.tasks.recorded.pictures import CHANNELS


def picture_column(data: Episodes, name: str | None = None, key: str = "recorded.pixels") -> str:
    """The named column, else the only one with pictures.

    Raises UserError, with the columns and the `key` of the config that names another, for one that holds none, and where
    none or several do.
    """
    if name is not None:
        if name not in data.columns:
            raise UnknownNameError(f"column of {data.path}", name, data.columns)
        if not _holds_pictures(data.columns[name]):
            column = data.columns[name]
            raise UserError(
                f"column {name!r} of {data.path} is {column.dtype} {list(column.shape)}, and pictures of bytes, [height, "
                f"width, channels] or [channels, height, width], are expected: name another with {key}=NAME."
            )
        return name
    found = _picture_columns(data)
    if len(found) != 1:
        words = f"{len(found)} columns of pictures ({', '.join(found)})" if found else "no column of pictures"
        listed = ", ".join(f"{each} {list(column.shape)}" for each, column in data.columns.items()) or "none"
        remedy = f"name one with {key}=NAME" if found else "give a dataset with pictures, or train a model of states"
        raise UserError(f"{data.path} has {words}; its columns are {listed}: {remedy}.")
    return found[0]


def only_picture_column(data: Episodes) -> str | None:
    """The dataset's column of pictures; None if it has none or several."""
    found = _picture_columns(data)
    return found[0] if len(found) == 1 else None


def _picture_columns(data: Episodes) -> list[str]:
    return [each for each in columns_with(data, Role.PIXELS) if _holds_pictures(data.columns[each])]


def _holds_pictures(column: Column) -> bool:
    shape = column.shape
    return column.dtype == "uint8" and len(shape) == 3 and (shape[2] in CHANNELS or shape[0] in CHANNELS) and min(shape) > 0
