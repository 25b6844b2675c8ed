"""The trajectories that `grasp train` collects for state models: Parquet with a trajectory per row."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq

from world_models.datasets.base import Role, column_of
from world_models.datasets.columns import PaddedReader, PerProcess
from world_models.datasets.digests import FileDigest
from world_models.datasets.index import index_of_lengths
from world_models.datasets.places import Place
from world_models.datasets.readers.dino_wm import EpisodeReader
from world_models.datasets.recording import Recording
from world_models.datasets.refusals import READ_ERRORS, reading

MAGIC = b"PAR1"


def recognise(place: Place) -> bool:
    """Whether a Parquet file has the sizes that our trajectories are stored with."""
    if not place.is_file or not is_parquet(place):
        return False
    try:
        with place.open() as source:
            return "observation_dim" in json.loads((pq.ParquetFile(source).schema_arrow.metadata or {}).get(b"grasp", b"{}"))
    except READ_ERRORS:
        return False


def is_parquet(place: Place) -> bool:
    """Whether a file begins as Parquet does."""
    with place.open() as source:
        return source.read(4) == MAGIC


def open_collected(place: Place) -> Recording:
    """Open such a file. Raises DatasetError for one that is damaged."""
    arrays = {name: PerProcess(Trajectories(place, name)) for name in ("observation", "action")}
    with reading(place.text):
        observations, actions = (each.get() for each in arrays.values())
        index = index_of_lengths(np.full(len(observations), observations.shape[1], np.int64), place.text, open_ended=True)
        columns = {
            "observation": column_of("observation", observations.shape[2:], observations.dtype, role=Role.OBSERVATION),
            "action": column_of("action", actions.shape[2:], actions.dtype),
        }
    inner = EpisodeReader(arrays["action"], columns["action"])
    readers = {
        "observation": EpisodeReader(arrays["observation"], columns["observation"]),
        "action": PaddedReader(inner, index.lengths, index.open_ended, columns["action"]),
    }
    return Recording("collected", place.text, index, columns, readers, FileDigest(place))


@dataclass(frozen=True)
class Trajectories:
    """Reads the observations, `[trajectories, time + 1, feature]`, or the actions, which are one less."""

    place: Place
    name: str

    def __call__(self) -> np.ndarray:
        """The array of this process."""
        with self.place.open() as source:
            table = pq.read_table(source, columns=[f"{self.name}s"])
        size = json.loads((table.schema.metadata or {})[b"grasp"])[f"{self.name}_dim"]
        flat = np.concatenate([chunk.flatten().to_numpy() for chunk in table.column(0).chunks])
        return flat.reshape(len(table), -1, size)
