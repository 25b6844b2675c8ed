"""Minari's Arrow and Parquet storages: a folder per episode, with one file of as many rows as observations."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int
from pyarrow import ipc

from world_models.datasets.base import Column, DatasetError, column_of
from world_models.datasets.columns import ColumnReader, PerProcess, filler, windows_one_by_one
from world_models.datasets.digests import FileDigest
from world_models.datasets.index import index_of_lengths
from world_models.datasets.pictures import EncodedReader, is_picture, picture_shape
from world_models.datasets.places import Place, local_path
from world_models.datasets.recording import Recording
from world_models.datasets.refusals import reading
from world_models.errors import UserError
from world_models.files.names import inside
from world_models.files.reading import read_json

HELD = 64
"""Episodes that are kept open."""
TRANSITIONS = ("actions", "rewards", "terminations", "truncations")


def open_minari_arrow(home: Place, place: Place, facts: Mapping[str, Any]) -> Recording:
    """Open the folder with the episodes. Raises DatasetError for one that is damaged."""
    folder = local_path(home, "minari")
    count = int(facts.get("total_episodes", 0))
    tables = PerProcess(partial(EpisodeTables, folder))
    with reading(str(folder)):
        lengths = [tables.get().length(episode) for episode in range(count)]
        if sum(lengths) - count != int(facts.get("total_steps", sum(lengths) - count)):
            raise DatasetError(
                f"{folder} has {sum(lengths) - count} steps, and its metadata say {facts['total_steps']}: copy it again."
            )
        index = index_of_lengths(np.array(lengths, np.int64), str(folder), open_ended=True)
        columns, readers, notes = {}, {}, []
        first = tables.get().columns(0) if count else {}
        for name, array in first.items():
            made = _column(name, array, tables, str(folder))
            if made is None:
                notes.append(f"Column {name!r} is {array.type} and is left out: only numbers are read.")
            else:
                columns[name], readers[name] = made
        seeds = tuple(tables.get().seed(episode) for episode in range(count))
    return Recording("minari", place.text, index, columns, readers, FileDigest(home), facts, tuple(notes), seeds)


class EpisodeTables:
    """The columns of the episodes that were read last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: OrderedDict[int, dict[str, pa.Array]] = OrderedDict()

    def length(self, episode: int) -> int:
        """Rows of an episode, from the file's header."""
        file = self._file(episode)
        if file.suffix == ".parquet":
            return pq.ParquetFile(file).metadata.num_rows
        with pa.memory_map(str(file)) as source:
            found = ipc.open_file(source)
            return sum(found.get_batch(k).num_rows for k in range(found.num_record_batches))

    def seed(self, episode: int) -> int | None:
        """The seed of an episode's reset; None if it is not known."""
        file = self._file(episode).parent / "metadata.json"
        try:
            found = read_json(file, dict[str, Any], "an episode's metadata", "copy the dataset again").get("seed")
        except (FileNotFoundError, UserError):
            return None
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    def columns(self, episode: int) -> dict[str, pa.Array]:
        """The columns of an episode, those of structures by their paths."""
        held = self._held.get(episode)
        if held is None:
            file = self._file(episode)
            with reading(str(file)):
                table = pq.read_table(file) if file.suffix == ".parquet" else ipc.open_file(pa.memory_map(str(file))).read_all()
                held = self._held[episode] = dict(_leaves(table))
            while len(self._held) > HELD:
                self._held.popitem(last=False)
        return held

    def _file(self, episode: int) -> Path:
        folder = inside(self._folder, f"{episode:d}")
        files = sorted([*folder.glob("*.arrow"), *folder.glob("*.parquet")]) if folder.is_dir() else []
        if len(files) != 1:
            raise DatasetError(f"{folder} holds {len(files)} files of an episode, and one is expected: copy the dataset again.")
        return files[0]


def _leaves(table: pa.Table) -> list[tuple[str, pa.Array]]:
    found, waiting = [], [(name, table.column(name).combine_chunks()) for name in reversed(table.column_names)]
    while waiting:
        name, array = waiting.pop()
        array = array.chunk(0) if isinstance(array, pa.ChunkedArray) and array.num_chunks else array
        if isinstance(array, pa.StructArray):
            waiting += [(f"{name}/{array.type.field(k).name}", array.field(k)) for k in reversed(range(array.type.num_fields))]
        elif name != "episode_id":
            found.append((name, array))
    return found


def _column(name: str, array: pa.Array, tables: PerProcess[EpisodeTables], where: str) -> tuple[Column, ColumnReader] | None:
    kind, transition = array.type, name.split("/")[0] in TRANSITIONS
    if pa.types.is_binary(kind):
        first = array[0].as_py() if len(array) else None
        if first is None or not is_picture(first):
            return None
        column = column_of(name, picture_shape(first, f"{where}, episode 0, row 0"), np.uint8)
        return column, EncodedReader(PictureRows(tables, name), column, where)
    shape: tuple[int, ...] = (kind.list_size,) if pa.types.is_fixed_size_list(kind) else ()
    element = kind.value_type if shape else kind
    if not (pa.types.is_integer(element) or pa.types.is_floating(element) or pa.types.is_boolean(element)):
        return None
    column = column_of(name, shape, element.to_pandas_dtype(), transition=transition)
    return column, TableReader(tables, column)


@dataclass(frozen=True)
class PictureRows:
    """The pictures of an episode as the bytes of their files."""

    tables: PerProcess[EpisodeTables]
    name: str

    def __call__(self, episode: int, start: int, stop: int) -> list[bytes | None]:
        """The files of some rows."""
        return self.tables.get().columns(episode)[self.name].slice(start, stop - start).to_pylist()


@dataclass(frozen=True)
class TableReader:
    """A column of the episodes' tables; Minari fills the last row of transitions with zeros, and here it is filled as ours."""

    tables: PerProcess[EpisodeTables]
    column: Column

    def read(self, episode: int, start: int, stop: int) -> np.ndarray:
        """The rows."""
        array = self.tables.get().columns(episode)[self.column.name]
        part = array.slice(start, stop - start)
        flat = part.flatten() if isinstance(part, pa.FixedSizeListArray) else part
        found = flat.to_numpy(zero_copy_only=False).reshape(stop - start, *self.column.shape).astype(self.column.dtype)
        if self.column.transition and stop == len(array) and stop > start:
            found[-1:] = filler(self.column)
        return found

    def read_windows(self, episodes: Int[np.ndarray, " n"], starts: Int[np.ndarray, " n"], rows: int) -> np.ndarray:
        """The windows, one by one."""
        return windows_one_by_one(self, episodes, starts, rows)
