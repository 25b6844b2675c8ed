"""Diffusion policy's zarr folders: arrays `data/NAME` of all rows, and `meta/episode_ends`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from world_models.datasets.base import DatasetError, column_of
from world_models.datasets.columns import FlatReader, PerProcess
from world_models.datasets.digests import FileDigest
from world_models.datasets.index import check_rows, index_of_ends
from world_models.datasets.places import Place, local_path
from world_models.datasets.recording import Recording
from world_models.datasets.refusals import library, reading

ENDS = "meta/episode_ends"
HEADERS = (".zarray", "zarr.json")
REFUSED = ("pickle", "json2", "msgpack2", "vlen-utf8", "vlen-bytes", "vlen-array", "object")
"""Codecs and types of arrays of objects, which are left out: unpacking some of them executes code."""


def recognise(place: Place) -> bool:
    """Whether a folder has such arrays."""
    path = place.local
    return path is not None and any((path / ENDS / header).is_file() for header in HEADERS)


def open_zarr(place: Place) -> Recording:
    """Open such a folder. Raises DatasetError for one that is damaged or compressed by what is not installed."""
    path = local_path(place, "zarr")
    group = PerProcess(partial(ZarrFolder, path))
    with reading(str(path)):
        index = index_of_ends(np.asarray(group.get().array(ENDS)[:]), str(path))
        columns, readers, notes = {}, {}, []
        for name in group.get().names():
            found = group.get().array(f"data/{name}") if sound(path / "data", name) else None
            if found is None or found.dtype.kind not in "biuf" or not found.shape:
                notes.append(f"Array {name!r} does not hold numbers and is left out.")
                continue
            check_rows(index, found.shape[0], name, str(path))
            columns[name] = column_of(name, found.shape[1:], found.dtype)
            readers[name] = FlatReader(PerProcess(ZarrArray(group, f"data/{name}")), index.offsets, columns[name])
    return Recording("zarr", place.text, index, columns, readers, FileDigest(place), {}, tuple(notes))


class ZarrFolder:
    """An open folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        zarr = library("zarr", "zarr")
        from world_models.datasets.readers.zarr_folders.store import CheckedStore

        self._group = zarr.open_group(CheckedStore.of(path), mode="r")

    def array(self, name: str) -> Any:
        """An array by its path."""
        if not sound(self._path, name):
            raise DatasetError(f"{self._path}: {name} holds objects, which are never unpacked.")
        return self._group[name]

    def names(self) -> list[str]:
        """Names of the folders in `data`."""
        return sorted(folder.name for folder in (self._path / "data").iterdir() if folder.is_dir())


def sound(folder: Path, name: str) -> bool:
    """Whether the header of an array names neither objects nor a codec that executes code."""
    for header in HEADERS:
        file = folder.joinpath(*name.split("/"), header)
        if file.is_file():
            text = json.dumps(json.loads(file.read_text(encoding="utf-8"))).lower()
            return not any(f'"{word}"' in text for word in (*REFUSED, "|o"))
    return False


@dataclass(frozen=True)
class ZarrArray:
    """Opens an array of a folder."""

    group: PerProcess[ZarrFolder]
    name: str

    def __call__(self) -> Any:
        """The array of this process."""
        return self.group.get().array(self.name)
