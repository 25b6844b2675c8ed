"""Lance tables with one row per step, as stable-worldmodel writes them: `episode_idx`, `step_idx`, numbers, JPEG files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from world_models.datasets.base import Column, DatasetError, column_of
from world_models.datasets.columns import PerProcess
from world_models.datasets.digests import FileDigest
from world_models.datasets.index import EpisodeIndex, index_of_ids
from world_models.datasets.pictures import decoded, is_picture, picture_shape
from world_models.datasets.places import Place, local_path
from world_models.datasets.readers.parquet import array_of
from world_models.datasets.recording import Recording
from world_models.datasets.refusals import library, reading

IDS = ("episode_idx", "episode_index", "ep_idx", "episode_id")

MAGIC = b"LANC"
"""The last bytes of every file of a table."""


def recognise(place: Place) -> bool:
    """Whether a folder is a Lance table, or holds one."""
    return place.local is not None and _table(place.local) is not None


def open_lance(place: Place) -> Recording:
    """Open a table whose rows have the number of their episode. Raises DatasetError for one that is damaged."""
    path = _table(local_path(place, "lance"))
    if path is None:
        raise DatasetError(f"{place.text} holds no Lance table: give the folder NAME.lance.")
    opened = PerProcess(partial(open_table, path))
    with reading(str(path)):
        check_manifests(path)
        table = opened.get()
        schema = table.schema
        ids = next((name for name in IDS if name in schema.names), None)
        if ids is None:
            raise DatasetError(f"{path} has no column {', '.join(IDS)}, one of which tells its episodes.")
        numbers = table.to_table(columns=[ids]).column(ids).to_numpy()
        index = index_of_ids(numbers, str(path))
        columns, readers, notes = {}, {}, []
        first = table.take([0]) if index.rows else None
        for field in schema:
            column = _column(field, first, str(path))
            if column is None:
                notes.append(f"Column {field.name!r} is {field.type} and is left out: only numbers and pictures are read.")
            else:
                columns[field.name] = column
                readers[field.name] = LanceReader(opened, index, column, pa.types.is_binary(field.type), str(path))
    return Recording("lance", place.text, index, columns, readers, FileDigest(Place(str(path))), {}, tuple(notes))


def check_manifests(path: Path) -> None:
    """Raise DatasetError for a truncated manifest, over which the library would end the thread and say so on the screen."""
    for file in sorted((path / "_versions").glob("*.manifest")):
        with file.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(size - len(MAGIC), 0))
            if size < 16 or stream.read() != MAGIC:
                raise DatasetError(f"{file} is truncated, for it does not end as a manifest does: copy the dataset again.")


def open_table(path: Path) -> Any:
    """The table."""
    return library("lance", "lance").dataset(str(path))


def _table(path: Path) -> Path | None:
    """A folder of a table, or the only one in a folder, without the table of episodes beside it."""
    if (path / "_versions").is_dir():
        return path
    inner = [each for each in path.glob("*.lance") if (each / "_versions").is_dir()] if path.is_dir() else []
    inner = [each for each in inner if not each.name.endswith("_episodes.lance")]
    return inner[0] if len(inner) == 1 else None


def _column(field: pa.Field, first: pa.Table | None, where: str) -> Column | None:
    kind = field.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        data = first.column(field.name)[0].as_py() if first is not None else None
        if data is None or not is_picture(data):
            return None
        return column_of(field.name, picture_shape(data, f"{where}, row 0, column {field.name!r}"), np.uint8)
    shape: tuple[int, ...] = (kind.list_size,) if pa.types.is_fixed_size_list(kind) else ()
    element = kind.value_type if shape else kind
    if not (pa.types.is_integer(element) or pa.types.is_floating(element) or pa.types.is_boolean(element)):
        return None
    return column_of(field.name, shape, element.to_pandas_dtype())


@dataclass(frozen=True)
class LanceReader:
    """A column of a table, taken by row numbers; all windows at once."""

    table: PerProcess[Any]
    index: EpisodeIndex
    column: Column
    picture: bool
    where: str

    def read(self, episode: int, start: int, stop: int) -> np.ndarray:
        """The rows."""
        begin = int(self.index.offsets[episode])
        return self.read_flat(begin + start, begin + stop)

    def read_flat(self, begin: int, end: int) -> np.ndarray:
        """The rows of the whole sequence."""
        return self._taken(np.arange(begin, end))

    def read_windows(self, episodes: Int[np.ndarray, " n"], starts: Int[np.ndarray, " n"], rows: int) -> np.ndarray:
        """The windows."""
        begins = self.index.offsets[episodes] + starts
        found = self._taken((begins[:, None] + np.arange(rows)).reshape(-1))
        return found.reshape(len(begins), rows, *self.column.shape)

    def _taken(self, numbers: Int[np.ndarray, " n"]) -> np.ndarray:
        if not len(numbers):
            return np.zeros((0, *self.column.shape), self.column.dtype)
        unique, places = np.unique(numbers, return_inverse=True)
        values = self.table.get().take(unique.tolist(), columns=[self.column.name]).column(0)
        if not self.picture:
            return array_of(values, self.column)[places]
        pictures = []
        for number, data in zip(unique.tolist(), values.to_pylist(), strict=True):
            where = f"{self.where}, row {number} of the table, column {self.column.name!r}"
            picture = decoded(data or b"", where)
            if picture.shape != self.column.shape:
                raise DatasetError(f"{where}: the picture is {picture.shape}, and {self.column.shape} is expected.")
            pictures.append(picture)
        return np.stack(pictures)[places]
