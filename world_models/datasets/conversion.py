"""Conversion of any dataset into our own form, which goes on where it stopped and is compared with the source at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from world_models.datasets.arrow_writing import ArrowWriter
from world_models.datasets.base import DatasetError, Episodes, named_columns
from world_models.datasets.digests import FullDigest, blocks_of, episode_digest
from world_models.datasets.opening import open_dataset


@dataclass(frozen=True)
class Converted:
    """A finished conversion."""

    folder: Path
    episodes: int
    resumed: int
    """Episodes that an earlier run had written."""
    digest: str
    """The full digest of the columns that were taken, which source and result share."""


def convert(
    data: Episodes,
    folder: Path,
    columns: Sequence[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Converted:
    """Write a dataset, or some columns of it, in our own form, then read it back and compare every episode.

    `progress` is called with what is done (`writing`, `comparing`), and episodes done and in all. Raises DatasetError for a
    folder that holds something else, and for a result that differs.
    """
    names = named_columns(data, columns)
    taken = {name: data.columns[name] for name in names}
    source = f"{data.digest()} {' '.join(names)}"
    writer = ArrowWriter(folder, taken.values(), {**data.facts, "kind": data.kind}, data.notes, source)
    resumed, count = writer.episodes, len(data.lengths)
    try:
        for episode in range(resumed, count):
            writer.begin()
            for start, stop in blocks_of(data, episode):
                writer.append(data.rows(episode, start, stop, names))
            writer.end(bool(data.open_ended[episode]))
            if progress is not None:
                progress("writing", episode + 1, count)
    finally:
        if writer.episodes < count:
            writer.discard()
    writer.finish()
    return Converted(folder, count, resumed, _compared(folder, writer, progress))


def _compared(folder: Path, writer: ArrowWriter, progress: Callable[[str, int, int], None] | None) -> str:
    copy = open_dataset(folder, "arrow")
    total = FullDigest(copy.columns)
    for episode, (written, ended) in enumerate(zip(writer.digests, copy.open_ended.tolist(), strict=True)):
        if episode_digest(copy, episode) != written:
            raise DatasetError(f"{folder}: episode {episode} is not read as it was written: check the disk, and convert again.")
        total.add(written, ended)
        if progress is not None:
            progress("comparing", episode + 1, len(writer.digests))
    return total.hexdigest()
