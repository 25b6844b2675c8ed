"""Faults of a dataset's content, each said with its episode and row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from world_models.datasets.base import Column, DatasetError, Episodes, Role, columns_with
from world_models.datasets.blocks import Block, blocks
from world_models.datasets.digests import EpisodeDigest
from world_models.datasets.statistics import ColumnStatistics, Moments, used_rows

SHOWN = 5
"""Faults of a kind that are told one by one."""
PICTURES = 64
"""Episodes of which pictures are read, evenly spaced, unless all are asked for."""
GAP = 1.5
"""How many usual time steps two rows may be apart."""
MARKS = (Role.TERMINATED, Role.TRUNCATED)


@dataclass
class Faults:
    """Faults by kind: the first few in words, and how many there are."""

    words: dict[str, list[str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, sentence: str, count: int = 1) -> None:
        """Add a fault, or `count` of which the first is told."""
        self.counts[kind] += count
        told = self.words.setdefault(kind, [])
        if len(told) < SHOWN:
            told.append(sentence)

    def sentences(self) -> list[str]:
        """The faults in words."""
        found = []
        for kind, told in self.words.items():
            found += told
            more = self.counts[kind] - len(told)
            found += [f"and {more} more: {kind}"] if more > 0 else []
        return found


@dataclass(frozen=True)
class Review:
    """The result of reading a dataset once."""

    statistics: dict[str, ColumnStatistics]
    """By column, without pictures."""
    faults: list[str]
    """One sentence each; none for a sound dataset."""


def review(data: Episodes, all_pictures: bool = False, progress: Callable[[int, int], None] | None = None) -> Review:
    """Read a dataset once and say what is wrong with it. `progress` is called with rows read and their number.

    Pictures are read of at most `PICTURES` episodes, the first and last row of each, unless `all_pictures` is set.
    """
    faults = Faults()
    _lengths(data, faults)
    pictures = columns_with(data, Role.PIXELS)
    names = [name for name in data.columns if name not in pictures]
    moments = {name: Moments(data.columns[name]) for name in names}
    checks = _Rows(data, faults)
    done, total = 0, int(data.lengths.sum())
    try:
        for block in blocks(data, names) if names else ():
            for name in names:
                moments[name].add(used_rows(data, data.columns[name], block))
            checks.look_at(block)
            done += len(block.rows)
            if progress is not None:
                progress(done, total)
        checks.finish()
    except DatasetError as error:
        faults.add("rows that cannot be read", str(error))
    _pictures(data, pictures, all_pictures, faults)
    return Review({name: each.result() for name, each in moments.items()}, faults.sentences())


def _lengths(data: Episodes, faults: Faults) -> None:
    if not len(data.lengths):
        faults.add("no episodes", "it has no episodes")
    for episode in np.nonzero(data.lengths == 0)[0].tolist():
        faults.add("empty episodes", f"episode {episode} is empty")
    for episode in np.nonzero(data.lengths == 1)[0].tolist():
        faults.add("episodes of one row", f"episode {episode} has one row, from which nothing can be learned")


def _pictures(data: Episodes, names: list[str], every: bool, faults: Faults) -> None:
    episodes = np.nonzero(data.lengths > 0)[0]
    if not every and len(episodes) > PICTURES:
        episodes = episodes[np.linspace(0, len(episodes) - 1, PICTURES).round().astype(int)]
    for episode in episodes.tolist() if names else ():
        last = int(data.lengths[episode]) - 1
        ranges = [(k, min(k + 64, last + 1)) for k in range(0, last + 1, 64)] if every else [(0, 1), (last, last + 1)]
        for start, stop in ranges:
            try:
                data.rows(episode, start, stop, names)
            except DatasetError as error:
                faults.add("pictures that cannot be read", str(error))
                break


class _Rows:
    """Checks of rows that look back at the row before, across blocks."""

    def __init__(self, data: Episodes, faults: Faults) -> None:
        self._data, self._faults = data, faults
        self._columns = [column for column in data.columns.values() if column.role is not Role.PIXELS]
        self._last: tuple[int, dict[str, np.ndarray]] | None = None
        self._steps: dict[str, float] = {}
        self._digest: EpisodeDigest | None = None
        self._seen: dict[str, int] = {}

    def look_at(self, block: Block) -> None:
        """Check a block, which follows the one before."""
        for column in self._columns:
            self._odd_values(block, column)
            if column.role in MARKS:
                self._early_ends(block, column)
            if column.role in (Role.TIME, Role.STEP) and column.shape in ((), (1,)):
                self._order(block, column)
        self._last = (int(block.episodes[-1]), {name: values[-1:] for name, values in block.values.items()})
        self._duplicates(block)

    def finish(self) -> None:
        if self._digest is not None and self._last is not None:
            self._end_episode(self._last[0])

    def _odd_values(self, block: Block, column: Column) -> None:
        values = block.values[column.name]
        if values.dtype.kind != "f":
            return
        bad = ~np.isfinite(values.reshape(len(values), -1))
        if not bad.any():
            return
        rows = bad.any(1)
        if column.transition:
            last = block.rows == self._data.lengths[block.episodes] - 1
            rows &= ~(last & self._data.open_ended[block.episodes])
        for row in np.nonzero(rows)[0].tolist():
            value = values[row].ravel()[bad[row]][0]
            said = f"{self._at(block, row)}: {column.name!r} is {value}"
            self._faults.add(f"values of {column.name!r} that are not numbers", said)

    def _early_ends(self, block: Block, column: Column) -> None:
        marked = block.values[column.name].reshape(len(block.rows), -1).astype(bool).any(1)
        # Minari and OGBench mark the last step, which is one row before the last where that lacks an action.
        early = marked & (block.rows < self._data.lengths[block.episodes] - 1 - self._data.open_ended[block.episodes])
        for row in np.nonzero(early)[0].tolist():
            said = f"{self._at(block, row)}: {column.name!r} says that the episode ends, and it goes on"
            self._faults.add(f"early ends by {column.name!r}", said)

    def _order(self, block: Block, column: Column) -> None:
        values = block.values[column.name].reshape(-1).astype(np.float64)
        episodes, shift = block.episodes, 0
        if self._last is not None:
            values = np.concatenate([self._last[1][column.name].reshape(-1).astype(np.float64), values])
            episodes, shift = np.concatenate([[self._last[0]], episodes]), 1
        apart, same = np.diff(values), np.diff(episodes) == 0
        step = self._steps.get(column.name) or (float(np.median(apart[same])) if same.any() else 0.0)
        if step > 0:
            self._steps[column.name] = step
        for k in np.nonzero(same & (apart <= 0))[0].tolist():
            said = f"{self._at(block, k + 1 - shift)}: {column.name!r} goes from {values[k]:g} back to {values[k + 1]:g}"
            self._faults.add(f"{column.name!r} going backwards", said)
        for k in np.nonzero(same & (apart > GAP * step) & (step > 0))[0].tolist():
            said = f"{self._at(block, k + 1 - shift)}: {column.name!r} jumps from {values[k]:g} to {values[k + 1]:g}"
            self._faults.add(f"gaps in {column.name!r}", said)

    def _duplicates(self, block: Block) -> None:
        """Tell episodes whose values all equal those of an earlier one, but for numbers of rows and episodes."""
        names = {column.name: column for column in self._columns if column.role not in (Role.EPISODE, Role.STEP, Role.TIME)}
        bounds = [0, *(np.nonzero(np.diff(block.episodes))[0] + 1).tolist(), len(block.rows)]
        for begin, end in pairwise(bounds):
            if block.rows[begin] == 0:
                self._digest = EpisodeDigest(names)
            assert self._digest is not None
            self._digest.update({name: block.values[name][begin:end] for name in names})
            episode = int(block.episodes[begin])
            if block.rows[end - 1] == self._data.lengths[episode] - 1:
                self._end_episode(episode)

    def _end_episode(self, episode: int) -> None:
        if self._digest is None:
            return
        digest, self._digest = self._digest.hexdigest(), None
        first = self._seen.setdefault(digest, episode)
        if first != episode and self._data.lengths[episode] > 1:
            self._faults.add("duplicates", f"episode {episode} has the same values as episode {first}")

    @staticmethod
    def _at(block: Block, row: int) -> str:
        return f"episode {block.episodes[row]}, row {block.rows[row]}"


def uses(data: Episodes) -> Iterator[str]:
    """The uses that a dataset has, by its columns."""
    actions = [column for column in data.columns.values() if column.role is Role.ACTION]
    vectors = [c for c in data.columns.values() if c.role in (Role.OBSERVATION, Role.STATE) and len(c.shape) == 1]
    pictures = columns_with(data, Role.PIXELS)
    longest = int(data.lengths.max()) if len(data.lengths) else 0
    if actions and vectors:
        yield f"a model of states, from {', '.join(column.name for column in vectors)}"
    if actions and pictures:
        yield f"a model of pictures, from {', '.join(pictures)}"
    if actions and longest > 1:
        yield f"problems up to {longest - 1} steps"
    if not actions:
        yield "nothing yet: no column is an action; a YAML mapping can say which one is"
