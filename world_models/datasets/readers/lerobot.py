"""LeRobot's datasets, versions 2.0 to 3.0: `meta/info.json`, Parquet of frames, and videos of cameras.

Version 2: a Parquet file and a video per episode. Version 3: files of many episodes, and `meta/episodes/*.parquet` says where
each of them begins. Layout: lerobot, `src/lerobot/datasets/utils.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from world_models.datasets.base import Column, DatasetError
from world_models.datasets.columns import ColumnReader
from world_models.datasets.digests import FileDigest
from world_models.datasets.index import EpisodeIndex, index_of_lengths
from world_models.datasets.places import Place, local_path
from world_models.datasets.readers.parquet import RowGroup, parquet_columns, row_groups
from world_models.datasets.recording import Recording
from world_models.datasets.refusals import reading
from world_models.datasets.video import shared_decoders, video_column
from world_models.files.names import inside

INFO = "meta/info.json"


@dataclass(frozen=True)
class Info:
    """The parts of `meta/info.json` that are needed."""

    version: int
    fps: float
    features: dict[str, dict[str, Any]]
    data_path: str
    video_path: str
    chunk: int
    """Episodes per folder, in version 2."""
    facts: dict[str, Any]


def recognise(place: Place) -> bool:
    """Whether a folder has LeRobot's `meta/info.json`."""
    if place.local is None or place.size(INFO) is None:
        return False
    with reading(place.named(INFO)):
        return "codebase_version" in json.loads(place.read(INFO))


def open_lerobot(place: Place) -> Recording:
    """Open such a folder. Raises DatasetError for an unknown version, files that are missing, and other damage."""
    info = _info(place)
    with reading(place.text):
        lengths, table = _episodes_v2(place) if info.version == 2 else _episodes_v3(place)
        index = index_of_lengths(lengths, place.text)
        groups, schema = _groups(place, info, lengths, table)
        rows = sum(group.rows for group in groups)
        if rows != index.rows:
            raise DatasetError(f"{place.text} has {rows} rows, and its episodes have {index.rows}: copy it again.")
        shapes = {name: tuple(int(n) for n in f.get("shape", ())) for name, f in info.features.items()}
        columns, readers, notes = parquet_columns(place, groups, schema, index, shapes)
        _add_videos(place, info, index, table, columns, readers)
    columns = {name: _with_features(column, info.features.get(name, {})) for name, column in columns.items()}
    return Recording("lerobot", place.text, index, columns, readers, FileDigest(place), info.facts, tuple(notes))


def _info(place: Place) -> Info:
    with reading(place.named(INFO)):
        raw = json.loads(place.read(INFO))
        version = str(raw["codebase_version"])
        major = version.lstrip("v").partition(".")[0]
        if major not in ("2", "3"):
            raise DatasetError(f"{place.named(INFO)} has version {version}: 2.0, 2.1 and 3.0 are read.")
        facts = {key: raw[key] for key in ("codebase_version", "fps", "robot_type", "total_episodes") if key in raw}
        video = raw.get("video_path") or ""
        return Info(
            int(major), float(raw["fps"]), dict(raw["features"]), str(raw["data_path"]), str(video),
            int(raw.get("chunks_size", 1000)), facts,
        )  # fmt: skip


def _episodes_v2(place: Place) -> tuple[Int[np.ndarray, " episodes"], pa.Table | None]:
    lines = [json.loads(line) for line in place.read("meta/episodes.jsonl").splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if line["episode_index"] != number:
            raise DatasetError(f"{place.named('meta/episodes.jsonl')}, line {number + 1}: episode {number} is missing.")
    return np.array([line["length"] for line in lines], np.int64), None


def _episodes_v3(place: Place) -> tuple[Int[np.ndarray, " episodes"], pa.Table]:
    files = sorted(name for name, _ in place.files() if name.startswith("meta/episodes/") and name.endswith(".parquet"))
    if not files:
        raise DatasetError(f"{place.text} has no meta/episodes/*.parquet: copy the dataset again.")
    tables = []
    for name in files:
        with reading(place.named(name)), place.open(name) as source:
            file = pq.ParquetFile(source)
            tables.append(file.read([n for n in file.schema_arrow.names if not n.startswith("stats/")]))
    table = pa.concat_tables(tables, promote_options="default").sort_by("episode_index")
    numbers = table.column("episode_index").to_numpy()
    if not np.array_equal(numbers, np.arange(len(numbers))):
        raise DatasetError(f"{place.text}: its episodes are not numbered 0 to {len(numbers) - 1}: copy it again.")
    return table.column("length").to_numpy().astype(np.int64), table


def _groups(
    place: Place, info: Info, lengths: Int[np.ndarray, " episodes"], table: pa.Table | None
) -> tuple[tuple[RowGroup, ...], pa.Schema]:
    if table is None:
        names = [_filled(info.data_path, episode // info.chunk, episode) for episode in range(len(lengths))]
        _, schema = row_groups(place, names[:1])
        return tuple(RowGroup(n, None, r) for n, r in zip(names, lengths.tolist(), strict=True)), schema
    chunks, files = table.column("data/chunk_index").to_pylist(), table.column("data/file_index").to_pylist()
    names = [_filled(info.data_path, chunk, file=file) for chunk, file in sorted(set(zip(chunks, files, strict=True)))]
    return row_groups(place, names)


def _add_videos(
    place: Place,
    info: Info,
    index: EpisodeIndex,
    table: pa.Table | None,
    columns: dict[str, Column],
    readers: dict[str, ColumnReader],
) -> None:
    decoders, root = shared_decoders(), local_path(place, "lerobot")
    count = len(index.lengths)
    for name, feature in info.features.items():
        if feature.get("dtype") != "video" or not count:
            continue
        if table is None:
            files = [_filled(info.video_path, e // info.chunk, e, key=name) for e in range(count)]
            firsts = np.zeros(count, np.int64)
        else:
            chunks, numbers = (table.column(f"videos/{name}/{part}_index").to_pylist() for part in ("chunk", "file"))
            files = [_filled(info.video_path, c, file=f, key=name) for c, f in zip(chunks, numbers, strict=True)]
            seconds = table.column(f"videos/{name}/from_timestamp").to_numpy().astype(np.float64)
            firsts = np.round(seconds * info.fps).astype(np.int64)
        paths = [str(inside(root, file)) for file in files]
        columns[name], readers[name] = video_column(name, paths, firsts, index.lengths, decoders)


def _filled(pattern: str, chunk: int, episode: int = 0, file: int = 0, key: str = "") -> str:
    """A path of the dataset from its pattern, which may name these numbers only."""
    return pattern.format(
        episode_chunk=int(chunk), chunk_index=int(chunk), episode_index=int(episode), file_index=int(file), video_key=key
    )


def _with_features(column: Column, feature: dict[str, Any]) -> Column:
    """The column with the names of its elements, where the format gives as many."""
    names = feature.get("names")
    if isinstance(names, dict):
        names = next((value for value in names.values() if isinstance(value, list)), None)
    if not isinstance(names, list) or len(column.shape) != 1 or len(names) != column.shape[0]:
        return column
    return Column(column.name, column.shape, column.dtype, column.role, column.unit, tuple(map(str, names)), column.transition)
