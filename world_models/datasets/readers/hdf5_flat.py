"""HDF5 files with one array per column that holds all rows: stable-worldmodel's, and D4RL's.

stable-worldmodel: `ep_len`, `ep_offset`, and any columns, `ep_idx` and `step_idx` among them. D4RL: `observations`, `actions`,
`rewards`, `terminals`, `timeouts`, `infos/...`; its `metadata` becomes facts.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from world_models.datasets.base import DatasetError, column_of
from world_models.datasets.columns import FlatReader, PerProcess
from world_models.datasets.digests import FileDigest
from world_models.datasets.index import check_rows, index_of_dones, index_of_lengths
from world_models.datasets.places import Place, local_path
from world_models.datasets.readers.hdf5 import FlatArray, H5File, is_hdf5
from world_models.datasets.recording import Recording
from world_models.datasets.refusals import reading


def recognise_lengths(place: Place) -> bool:
    """Whether an HDF5 file has lengths of episodes."""
    return is_hdf5(place.local) and "ep_len" in H5File(local_path(place, "hdf5")).names()


def recognise_marks(place: Place) -> bool:
    """Whether an HDF5 file has actions, and marks at the ends of episodes."""
    if not is_hdf5(place.local):
        return False
    names = H5File(local_path(place, "d4rl")).names()
    return "actions" in names and ("terminals" in names or "timeouts" in names)


def open_flat(place: Place) -> Recording:
    """Open such a file. Raises DatasetError for columns that are shorter than the episodes, and other damage."""
    path = local_path(place, "hdf5")
    file = PerProcess(partial(H5File, path))
    opened = file.get()
    with reading(str(path)):
        leaves = [name for name in opened.leaves("/") if not name.startswith("metadata/")]
        lengths_known = "ep_len" in leaves
        if lengths_known:
            offsets = opened.array("ep_offset")[:] if "ep_offset" in leaves else None
            index = index_of_lengths(np.asarray(opened.array("ep_len")[:]), str(path), offsets)
        else:
            if not {"terminals", "timeouts"} & set(leaves):
                raise DatasetError(f"{path} has neither ep_len nor terminals, which tell its episodes: name another kind.")
            marks = [np.asarray(opened.array(n)[:]).astype(bool) for n in ("terminals", "timeouts") if n in leaves]
            if len({len(mark) for mark in marks}) > 1:
                raise DatasetError(f"{path}: terminals and timeouts have different numbers of rows: copy it again.")
            index = index_of_dones(np.logical_or.reduce(marks), str(path))
        columns, readers, notes = {}, {}, []
        for name in leaves:
            if name in ("ep_len", "ep_offset"):
                continue
            array = opened.array(name)
            if array.dtype.kind not in "biuf" or not array.shape:
                notes.append(f"Column {name!r} is {array.dtype} and is left out: only numbers are read.")
                continue
            check_rows(index, array.shape[0], name, str(path))
            if array.shape[0] > (spare := index.rows) and lengths_known:
                notes.append(f"Column {name!r} has {array.shape[0] - spare} rows that belong to no episode.")
            columns[name] = column_of(name, array.shape[1:], array.dtype.newbyteorder("="))
            readers[name] = FlatReader(PerProcess(FlatArray(file, name)), index.offsets, columns[name])
        facts = {name: _plain(value) for name, value in opened.file.attrs.items()}
    kind = "hdf5" if lengths_known else "d4rl"
    return Recording(kind, place.text, index, columns, readers, FileDigest(place), facts, tuple(notes))


def _plain(value: object) -> object:
    """An attribute of a file as a JSON value."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist() if value.dtype.kind in "biuf" else str(value)
    return value if isinstance(value, str | int | float | bool) else str(value)
