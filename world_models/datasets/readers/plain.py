"""Files of one's own: Parquet with a number of the episode on each row, or Parquet, npz and npy with a mapping in YAML.

files: rows/*.parquet            # or a list; below the folder of the YAML file
episodes: {ids: episode}         # or ends, lengths, dones: a column or array; or length: 100
columns:
  action: {from: act, role: action, unit: N, features: [x, y]}
  state: qpos                    # short for {from: qpos}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Int

from world_models.datasets.base import Column, DatasetError, Role, column_of
from world_models.datasets.columns import ColumnReader, FlatReader, PerProcess
from world_models.datasets.digests import FileDigest
from world_models.datasets.index import (
    EpisodeIndex,
    check_rows,
    index_of_dones,
    index_of_ends,
    index_of_ids,
    index_of_lengths,
)
from world_models.datasets.places import Place, local_path
from world_models.datasets.readers.collected import is_parquet
from world_models.datasets.readers.npz import load_member, npz_members
from world_models.datasets.readers.parquet import parquet_columns, row_groups
from world_models.datasets.recording import Recording
from world_models.datasets.refusals import reading
from world_models.errors import UnknownNameError, brief
from world_models.files.yaml_reading import load_yaml

IDS = ("episode_index", "episode_idx", "ep_idx", "episode_id", "episode")
SEARCHED = 20
"""Folders below a folder in which Parquet files are looked for."""
WAYS = {"ids": index_of_ids, "ends": index_of_ends, "lengths": index_of_lengths, "dones": index_of_dones}
KEYS = ("files", "episodes", "columns")
ENTRY_KEYS = ("from", "role", "unit", "features")


@dataclass(frozen=True)
class Entry:
    """A column of a mapping."""

    source: str
    role: Role | None = None
    unit: str = ""
    features: tuple[str, ...] = ()


def recognise(place: Place) -> bool:
    """Whether a place is a Parquet file, or a folder of Parquet files."""
    if place.is_file:
        return is_parquet(place)
    here = place.children()
    folders = [name for name, is_file in here if not is_file][:SEARCHED]
    return any(name.endswith(".parquet") for name, _ in here) or any(
        name.endswith(".parquet") for folder in folders for name, _ in place.children(folder)
    )


def is_mapping(place: Place) -> bool:
    """Whether a file is YAML, by its name."""
    return Path(place.text).suffix in (".yaml", ".yml") and place.is_file


def open_plain(place: Place) -> Recording:
    """Open Parquet, or what a YAML file describes. Raises UserError for a mapping or files that do not fit."""
    if not is_mapping(place):
        names = [""] if place.is_file else _parquet_files(place)
        return _open_parquet(place, place, names, None, {})
    path = local_path(place, "mapping")
    files, episodes, entries = _mapping(path)
    home = Place(str(path.parent))
    held = [name for name, _ in home.files()]
    names = sorted({name for pattern in files for name in held if fnmatchcase(name, pattern)})
    if not names:
        raise DatasetError(f"{path}: no file below {path.parent} fits {', '.join(files)}: correct files.")
    if all(name.endswith(".parquet") for name in names):
        return _open_parquet(place, home, names, episodes, entries)
    return _open_arrays(place, path.parent, names, episodes, entries)


def _parquet_files(place: Place) -> list[str]:
    return sorted(name for name, _ in place.files() if name.endswith(".parquet"))


def _open_parquet(
    place: Place, home: Place, names: list[str], episodes: tuple[str, object] | None, entries: Mapping[str, Entry]
) -> Recording:
    groups, schema = row_groups(home, names)
    way, value = episodes or _way_of(schema.names, place)
    rows = sum(group.rows for group in groups)
    if way == "length":
        index = _even(rows, value, place.text)
    else:
        _known(str(value), schema.names, place.text)
        index = WAYS[way](_whole_column(home, names, str(value)), place.text)
    check_rows(index, rows, "rows", place.text)
    columns, readers, notes = parquet_columns(home, groups, schema, index, {})
    digest = FileDigest(home, None if home == place else tuple(names))
    return _chosen(place, index, columns, readers, tuple(notes), entries, digest)


def _open_arrays(
    place: Place, folder: Path, names: list[str], episodes: tuple[str, object] | None, entries: Mapping[str, Entry]
) -> Recording:
    arrays: dict[str, PerProcess[np.ndarray]] = {}
    for name in names:
        file = folder / name
        if name.endswith(".npz"):
            members = npz_members(file)
            arrays |= {key: PerProcess(partial(load_member, file, member)) for key, member in members.items()}
        elif name.endswith(".npy"):
            arrays[file.stem] = PerProcess(partial(_npy, file))
        else:
            raise DatasetError(f"{place.text}: {name} is neither .parquet, .npz nor .npy: correct files.")
    if episodes is None:
        raise DatasetError(f"{place.text} does not say where episodes end: add e.g. episodes: {{ends: NAME}}.")
    way, value = episodes
    if way == "length":
        first = next(iter(entries.values())).source if entries else next(iter(arrays))
        _known(first, arrays, place.text)
        index = _even(len(arrays[first].get()), value, place.text)
    else:
        _known(str(value), arrays, place.text)
        index = WAYS[way](arrays[str(value)].get(), place.text)
    columns, readers = {}, {}
    for name, opened in arrays.items():
        array = opened.get()
        if array.ndim and array.dtype.kind in "biuf" and (name in {e.source for e in entries.values()} or not entries):
            if not entries and way != "length" and name == value:
                continue
            check_rows(index, len(array), name, place.text)
            columns[name] = column_of(name, array.shape[1:], array.dtype)
            readers[name] = FlatReader(opened, index.offsets, columns[name])
    digest = FileDigest(Place(str(folder)), tuple(names))
    return _chosen(place, index, columns, readers, (), entries, digest)


def _chosen(
    place: Place,
    index: EpisodeIndex,
    columns: dict[str, Column],
    readers: dict[str, ColumnReader],
    notes: tuple[str, ...],
    entries: Mapping[str, Entry],
    digest: FileDigest,
) -> Recording:
    """The dataset with the columns of a mapping under their new names; all columns without one."""
    kind = "mapping" if is_mapping(place) else "parquet"
    if not entries:
        return Recording(kind, place.text, index, columns, readers, digest, {}, notes)
    named, read = {}, {}
    for name, entry in entries.items():
        _known(entry.source, columns, place.text)
        known = columns[entry.source]
        made = column_of(name, known.shape, known.dtype, unit=entry.unit, features=entry.features)
        if entry.role is not None:
            made = column_of(name, known.shape, known.dtype, unit=entry.unit, features=entry.features, role=entry.role)
        if len(entry.features) not in (0, int(np.prod(known.shape))):
            raise DatasetError(f"{place.text}: column {name!r} has {known.shape} values and {len(entry.features)} features.")
        named[name] = made
        read[name] = readers[entry.source]
    return Recording(kind, place.text, index, named, read, digest, {}, notes)


def _npy(file: Path) -> np.ndarray:
    with reading(str(file)):
        return np.load(file, mmap_mode="r", allow_pickle=False)


def _whole_column(home: Place, names: Sequence[str], column: str) -> np.ndarray:
    parts = []
    for name in names:
        with reading(home.named(name)), home.open(name) as source:
            parts.append(pq.read_table(source, columns=[column]).column(0).to_numpy())
    return np.concatenate(parts)


def _way_of(names: Sequence[str], place: Place) -> tuple[str, object]:
    found = next((name for name in IDS if name in names), None)
    if found is None:
        raise DatasetError(
            f"{place.text} has the columns {', '.join(names[:12])}, none of which tells its episodes "
            "(episode_index): describe it in a YAML mapping."
        )
    return "ids", found


def _even(rows: int, length: object, where: str) -> EpisodeIndex:
    if not isinstance(length, int) or isinstance(length, bool) or length < 1 or rows % length:
        raise DatasetError(f"{where}: {rows} rows are not episodes of {brief(length)} rows: correct episodes.length.")
    counts: Int[np.ndarray, " episodes"] = np.full(rows // length, length, np.int64)
    return index_of_lengths(counts, where)


def _known(name: str, names: Sequence[str] | Mapping[str, object], where: str) -> None:
    if name not in names:
        raise UnknownNameError(f"column of the files of {where}", name, names)


def _mapping(path: Path) -> tuple[list[str], tuple[str, object] | None, dict[str, Entry]]:
    raw = load_yaml(path, "mapping of a dataset")
    if not isinstance(raw, dict):
        raise DatasetError(f"{path} is not a mapping of {', '.join(KEYS)}: docs/data.md shows one.")
    for key in raw:
        if key not in KEYS:
            raise UnknownNameError(f"key of {path}", key, KEYS)
    files = raw.get("files", [])
    files = [files] if isinstance(files, str) else files
    if not isinstance(files, list) or not files or not all(isinstance(each, str) for each in files):
        raise DatasetError(f"{path}: files is {brief(files)}: give a name, such as rows/*.parquet, or a list of them.")
    columns = raw.get("columns") or {}
    if not isinstance(columns, dict):
        raise DatasetError(f"{path}: columns is {brief(columns)}: give names and what they are read from.")
    return files, _episodes(path, raw.get("episodes")), {str(name): _entry(path, name, each) for name, each in columns.items()}


def _episodes(path: Path, raw: object) -> tuple[str, object] | None:
    if raw is None:
        return None
    known = (*WAYS, "length")
    if not isinstance(raw, dict) or len(raw) != 1 or next(iter(raw)) not in known:
        raise DatasetError(f"{path}: episodes is {brief(raw)}: give one of {', '.join(known)}, such as {{ids: episode}}.")
    return next(iter(raw.items()))


def _entry(path: Path, name: object, raw: object) -> Entry:
    if isinstance(raw, str):
        return Entry(raw)
    if not isinstance(raw, dict) or not isinstance(raw.get("from", name), str):
        raise DatasetError(f"{path}: column {name!r} is {brief(raw)}: give e.g. {{from: act, role: action, unit: N}}.")
    for key in raw:
        if key not in ENTRY_KEYS:
            raise UnknownNameError(f"key of column {name!r} of {path}", key, ENTRY_KEYS)
    roles = {role.value: role for role in Role}
    role = raw.get("role")
    if role is not None and role not in roles:
        raise UnknownNameError(f"role of column {name!r} of {path}", role, roles)
    features = raw.get("features", [])
    if not isinstance(features, list):
        raise DatasetError(f"{path}: features of column {name!r} is {brief(features)}: give a list of names.")
    entry = Entry(str(raw.get("from", name)), roles.get(str(role)), str(raw.get("unit", "")), tuple(map(str, features)))
    return replace(entry, unit=re.sub(r"\s+", " ", entry.unit)[:40])
