"""robomimic's HDF5: `data/demo_N` with `actions`, `states`, `obs/...`, `next_obs/...`, all of the same number of rows."""

from __future__ import annotations

import json
from functools import partial

import numpy as np

from world_models.datasets.base import DatasetError, column_of
from world_models.datasets.columns import PerProcess
from world_models.datasets.digests import FileDigest
from world_models.datasets.index import index_of_lengths
from world_models.datasets.places import Place, local_path
from world_models.datasets.readers.hdf5 import GroupReader, H5File, is_hdf5
from world_models.datasets.recording import Recording
from world_models.datasets.refusals import reading


def recognise(place: Place) -> bool:
    """Whether an HDF5 file has a group `data` with groups `demo_N`."""
    if not is_hdf5(place.local):
        return False
    opened = H5File(local_path(place, "robomimic"))
    return opened.names().get("data") is False and any(name.startswith("demo_") for name in opened.names("data"))


def open_robomimic(place: Place) -> Recording:
    """Open such a file. Raises DatasetError for one that is damaged."""
    path = local_path(place, "robomimic")
    file = PerProcess(partial(H5File, path))
    opened = file.get()
    with reading(str(path)):
        groups = tuple(f"data/{name}" for name in sorted(_demos(opened), key=_number))
        lengths = [_length(opened, group) for group in groups]
        index = index_of_lengths(np.array(lengths, np.int64), str(path))
        columns, readers, notes = {}, {}, []
        for name in opened.leaves(groups[0]) if groups else []:
            array = opened.array(f"{groups[0]}/{name}")
            if array.dtype.kind not in "biuf" or not array.shape or len(array) != lengths[0]:
                notes.append(f"Column {name!r} is {array.dtype} {array.shape} and is left out: one number per row is read.")
                continue
            columns[name] = column_of(name, array.shape[1:], array.dtype)
            readers[name] = GroupReader(file, groups, name, columns[name])
        facts = _facts(opened)
    return Recording("robomimic", place.text, index, columns, readers, FileDigest(place), facts, tuple(notes))


def _demos(opened: H5File) -> list[str]:
    return [name for name, is_array in opened.names("data").items() if not is_array]


def _number(name: str) -> tuple[int, str]:
    digits = name.rpartition("_")[2]
    return (int(digits), name) if digits.isdecimal() else (2**62, name)


def _length(opened: H5File, group: str) -> int:
    """Rows of a demonstration: its actions', which have to be as many as it says itself."""
    rows = len(opened.array(f"{group}/actions"))
    said = opened.file[group].attrs.get("num_samples", rows)
    if int(said) != rows:
        raise DatasetError(f"{opened.path}, {group}: it has {rows} actions and says num_samples {said}: copy it again.")
    return rows


def _facts(opened: H5File) -> dict[str, object]:
    said = opened.file["data"].attrs.get("env_args")
    try:
        known = json.loads(said) if isinstance(said, str | bytes) else {}
    except ValueError:
        return {}
    return {"environment": known["env_name"]} if isinstance(known, dict) and "env_name" in known else {}
