"""Pictures that are stored as JPEG or PNG files, one per row, and unpacked when they are read."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from PIL import Image

from world_models.datasets.base import Column, DatasetError
from world_models.datasets.columns import windows_one_by_one
from world_models.datasets.refusals import READ_ERRORS, damaged

MAX_PIXELS = 4096 * 4096
"""Pixels of the largest picture that is unpacked."""
FORMATS = ("JPEG", "PNG", "WEBP")


def is_jpeg(value: object) -> bool:
    """Whether bytes, or an array of them, begin as a JPEG file does."""
    if isinstance(value, np.ndarray):
        return value.dtype == np.uint8 and value.ndim == 1 and len(value) > 100 and tuple(value[:3]) == (0xFF, 0xD8, 0xFF)
    return isinstance(value, bytes) and value[:3] == b"\xff\xd8\xff"


def is_picture(value: object) -> bool:
    """Whether bytes begin as a JPEG, PNG or WebP file does."""
    return isinstance(value, bytes) and (is_jpeg(value) or value[:8] == b"\x89PNG\r\n\x1a\n" or value[8:12] == b"WEBP")


def picture_shape(data: bytes, where: str) -> tuple[int, ...]:
    """Height, width and channels of a picture's file."""
    return decoded(data, where).shape


def decoded(data: bytes, where: str) -> np.ndarray:
    """The picture in a file's bytes, `[height, width, channels]` uint8. Raises DatasetError for a damaged or huge one."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"{picture.width} x {picture.height} pixels are too many")
            wanted = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
            found = np.asarray(wanted)
    except (*READ_ERRORS, Image.DecompressionBombError, SyntaxError) as error:
        raise damaged(f"{where}: the picture", error) from error
    return found[:, :, None] if found.ndim == 2 else found


@dataclass(frozen=True)
class EncodedReader:
    """A column of pictures that are stored as files."""

    rows: Callable[[int, int, int], Sequence[bytes | None]]
    """The files of an episode's rows, from `start` to `stop`; it can be pickled."""
    column: Column
    where: str

    def read(self, episode: int, start: int, stop: int) -> np.ndarray:
        """The pictures of some rows."""
        found = np.empty((stop - start, *self.column.shape), np.uint8)
        for k, data in enumerate(self.rows(episode, start, stop)):
            place = f"{self.where}, episode {episode}, row {start + k}, column {self.column.name!r}"
            if data is None:
                raise DatasetError(f"{place}: the picture is missing: copy the dataset again.")
            picture = decoded(data, place)
            if picture.shape != self.column.shape:
                raise DatasetError(f"{place}: the picture is {picture.shape}, and {self.column.shape} is expected.")
            found[k] = picture
        return found

    def read_windows(self, episodes: Int[np.ndarray, " n"], starts: Int[np.ndarray, " n"], rows: int) -> np.ndarray:
        """The windows, one by one."""
        return windows_one_by_one(self, episodes, starts, rows)
