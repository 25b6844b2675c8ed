"""Where episodes begin and end among the rows of a dataset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Shaped

from world_models.datasets.base import DatasetError


@dataclass(frozen=True)
class EpisodeIndex:
    """Lengths of the episodes, and where each begins in columns that hold all rows one after the other."""

    lengths: Int[np.ndarray, " episodes"]
    """Rows of each episode."""
    offsets: Int[np.ndarray, " episodes"]
    """First row of each episode."""
    open_ended: Bool[np.ndarray, " episodes"]
    """Whether each episode's last row lacks the action."""

    @property
    def rows(self) -> int:
        """Number of rows of all episodes."""
        return int(self.lengths.sum())


def index_of_lengths(
    lengths: Shaped[np.ndarray, " episodes"],
    where: str,
    offsets: Shaped[np.ndarray, " episodes"] | None = None,
    open_ended: bool | Bool[np.ndarray, " episodes"] = False,
) -> EpisodeIndex:
    """The index of episodes of given lengths, which follow each other unless `offsets` says where each begins.

    Raises DatasetError for a length or offset that is not a whole number >= 0, and for episodes that share rows.
    """
    rows = _whole(lengths, where, "length")
    ends = np.cumsum(rows)
    begins = ends - rows if offsets is None else _whole(offsets, where, "offset")
    if len(begins) != len(rows):
        raise DatasetError(f"{where} has {len(rows)} lengths and {len(begins)} offsets of episodes: copy it again.")
    if offsets is not None and len(rows) > 1:
        order = np.argsort(begins, kind="stable")
        shared = np.nonzero((begins + rows)[order][:-1] > begins[order][1:])[0]
        if len(shared):
            first, second = order[shared[0]], order[shared[0] + 1]
            raise DatasetError(f"{where}: episodes {first} and {second} share rows: correct its lengths and offsets.")
    ended = np.broadcast_to(np.asarray(open_ended, bool), rows.shape).copy()
    return EpisodeIndex(rows, begins, ended)


def index_of_ends(ends: Shaped[np.ndarray, " episodes"], where: str) -> EpisodeIndex:
    """The index of episodes that end before the given rows, as diffusion policy's `episode_ends` says."""
    whole = _whole(ends, where, "end")
    lengths = np.diff(whole, prepend=0)
    if len(lengths) and lengths.min() < 0:
        bad = int(np.nonzero(lengths < 0)[0][0])
        raise DatasetError(f"{where}: episode {bad} ends before the one that precedes it: correct its episode ends.")
    return index_of_lengths(lengths, where)


def index_of_dones(dones: Shaped[np.ndarray, " rows"], where: str) -> EpisodeIndex:
    """The index of episodes whose last row is marked; rows after the last mark are an episode too."""
    if dones.ndim != 1 or dones.dtype.kind not in "biuf":
        raise DatasetError(f"{where}: the ends of episodes are {dones.dtype} {dones.shape}: one number per row is expected.")
    ends = np.nonzero(dones)[0] + 1
    if len(dones) and (not len(ends) or ends[-1] != len(dones)):
        ends = np.append(ends, len(dones))
    return index_of_ends(ends, where)


def index_of_ids(ids: Shaped[np.ndarray, " rows"], where: str) -> EpisodeIndex:
    """The index of episodes that are told apart by a number on each of their rows, which stand together.

    Raises DatasetError if the rows of an episode are scattered.
    """
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise DatasetError(f"{where}: the episode numbers are {ids.dtype} {ids.shape}: one whole number per row is expected.")
    if not len(ids):
        return index_of_lengths(np.zeros(0, np.int64), where)
    begins = np.concatenate([[0], np.nonzero(np.diff(ids))[0] + 1])
    found, counts = np.unique(ids[begins], return_counts=True)
    if (counts > 1).any():
        number = found[counts > 1][0]
        row = int(begins[ids[begins] == number][1])
        raise DatasetError(f"{where}: row {row} goes back to episode {number}: sort the rows by episode.")
    return index_of_lengths(np.diff(np.append(begins, len(ids))), where)


def check_rows(index: EpisodeIndex, rows: int, column: str, where: str) -> None:
    """Raise DatasetError if a column has fewer rows than the episodes need."""
    ends = index.offsets + index.lengths
    if len(ends) and ends.max() > rows:
        bad = int(np.argmax(ends > rows))
        raise DatasetError(
            f"{where}: column {column!r} has {rows} rows, and episode {bad} ends with row {ends[bad] - 1}: copy it again, or "
            "leave the episode out."
        )


def _whole(values: Shaped[np.ndarray, " episodes"], where: str, what: str) -> Int[np.ndarray, " episodes"]:
    """The values as int64; DatasetError unless they are whole numbers >= 0, one per episode."""
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise DatasetError(f"{where}: the {what}s of episodes are {values.dtype} {values.shape}: one whole number per episode.")
    whole = values.astype(np.int64)
    bad = np.nonzero((whole != values) | (whole < 0) | (whole > 2**52))[0]
    if len(bad):
        raise DatasetError(f"{where}: episode {bad[0]} has the {what} {values[bad[0]]}: a whole number >= 0 is expected.")
    return whole
