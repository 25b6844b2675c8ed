"""Minari's datasets: a folder with `data/metadata.json`, and the episodes in HDF5, Arrow or Parquet.

An episode has one observation more than actions, so it is open-ended. The environment that the metadata name is not made, since
that could run code. Layout: minari 0.5, `minari/dataset/_storages`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from world_models.datasets.base import Column, DatasetError, column_of
from world_models.datasets.columns import ColumnReader, PaddedReader, PerProcess
from world_models.datasets.digests import FileDigest
from world_models.datasets.index import EpisodeIndex, index_of_lengths
from world_models.datasets.pictures import EncodedReader, is_jpeg, picture_shape
from world_models.datasets.places import Place, local_path
from world_models.datasets.readers.hdf5 import GroupReader, H5File, is_hdf5
from world_models.datasets.recording import Recording
from world_models.datasets.refusals import reading

DATA = "main_data.hdf5"


def recognise(place: Place) -> bool:
    """Whether a folder is Minari's, or its `data`, or a file is its `main_data.hdf5`."""
    path = place.local
    if path is None:
        return False
    if path.is_file():
        return path.name == DATA and is_hdf5(path)
    return _home(place) is not None


def open_minari(place: Place) -> Recording:
    """Open a dataset of Minari's. Raises DatasetError for one that is damaged."""
    home = Place(str(local_path(place, "minari").parent)) if place.is_file else _home(place)
    if home is None:
        raise DatasetError(f"{place.text} has no data/metadata.json: give the folder of a Minari dataset.")
    facts = _metadata(home)
    if home.size(DATA) is not None:
        return _open_hdf5(home, place, facts)
    from world_models.datasets.readers.minari_arrow import open_minari_arrow

    return open_minari_arrow(home, place, facts)


def _home(place: Place) -> Place | None:
    """The folder with the episodes."""
    path = local_path(place, "minari")
    for folder in (path / "data", path):
        home = Place(str(folder))
        if folder.is_dir() and home.size("metadata.json") is not None:
            with reading(home.named("metadata.json")):
                known = json.loads(home.read("metadata.json"))
            if home.size(DATA) is not None or (
                isinstance(known, dict) and "total_episodes" in known and "data_format" in known
            ):
                return home
    return None


def _metadata(home: Place) -> dict[str, Any]:
    with reading(home.named("metadata.json")):
        found = json.loads(home.read("metadata.json")) if home.size("metadata.json") is not None else {}
        return {name: value for name, value in found.items() if not isinstance(value, bytes)}


def _open_hdf5(home: Place, place: Place, facts: Mapping[str, Any]) -> Recording:
    path = local_path(home, "minari") / DATA
    file = PerProcess(partial(H5File, path))
    opened = file.get()
    with reading(str(path)):
        groups = _groups(opened, int(facts.get("total_episodes", -1)))
        steps = [int(opened.file[group].attrs["total_steps"]) for group in groups]
        index = index_of_lengths(np.array(steps, np.int64) + 1, str(path), open_ended=True)
        columns, readers, notes = _columns(opened, file, groups, index)
        seeds = tuple(seed_of(dict(opened.file[group].attrs)) for group in groups)
    return Recording("minari", place.text, index, columns, readers, FileDigest(home), facts, notes, seeds)


def seed_of(about: Mapping[str, Any]) -> int | None:
    """The seed of an episode's reset in what is said about it; None if there is none."""
    found = about.get("seed")
    return int(found) if isinstance(found, int | np.integer) and not isinstance(found, bool) else None


def _groups(opened: H5File, expected: int) -> tuple[str, ...]:
    names = {name for name, is_array in opened.names().items() if not is_array and name.startswith("episode_")}
    groups = tuple(f"episode_{number}" for number in range(len(names)))
    missing = [name for name in groups if name not in names]
    if missing or (expected >= 0 and expected != len(names)):
        fault = f"without {missing[0]}" if missing else f"and {expected} are expected"
        raise DatasetError(f"{opened.path} has {len(names)} episodes, {fault}: copy the dataset again.")
    return groups


def _columns(
    opened: H5File, file: PerProcess[H5File], groups: tuple[str, ...], index: EpisodeIndex
) -> tuple[dict[str, Column], dict[str, ColumnReader], tuple[str, ...]]:
    columns, readers, notes = {}, {}, []
    for name in opened.leaves(groups[0]) if groups else []:
        array = opened.array(f"{groups[0]}/{name}")
        first = array[0] if array.shape and len(array) else None
        if first is not None and is_jpeg(first):
            shape = picture_shape(bytes(np.asarray(first, np.uint8)), f"{opened.path}, episode 0, row 0, column {name!r}")
            columns[name] = column_of(name, shape, np.uint8)
            readers[name] = EncodedReader(JpegRows(file, groups, name), columns[name], str(opened.path))
        elif array.dtype.kind in "biuf" and array.shape:
            columns[name] = column_of(name, array.shape[1:], array.dtype)
            readers[name] = GroupReader(file, groups, name, columns[name])
        else:
            notes.append(f"Column {name!r} is {array.dtype} {array.shape} and is left out: only numbers are read.")
            continue
        if len(array) == index.lengths[0] - 1:
            columns[name] = column_of(name, columns[name].shape, columns[name].dtype, transition=True)
            readers[name] = PaddedReader(readers[name], index.lengths, index.open_ended, columns[name])
        elif len(array) != index.lengths[0] and name.startswith("infos/"):
            del columns[name], readers[name]
            notes.append(f"Column {name!r} has {len(array)} values in episode 0 and is left out: one per row is read.")
        elif len(array) != index.lengths[0]:
            raise DatasetError(f"{opened.path}, episode 0: column {name!r} has {len(array)} rows: copy the dataset again.")
    return columns, readers, tuple(notes)


@dataclass(frozen=True)
class JpegRows:
    """The pictures of an episode as the bytes of their files."""

    file: PerProcess[H5File]
    groups: tuple[str, ...]
    name: str

    def __call__(self, episode: int, start: int, stop: int) -> list[bytes]:
        """The files of some rows."""
        found = self.file.get().array(f"{self.groups[episode]}/{self.name}")[start:stop]
        return [bytes(np.asarray(row, np.uint8)) for row in found]
