"""Windows of rows in a sequence that depends on a seed alone, and splits of episodes that never change."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int, UInt64

from world_models.datasets.base import Episodes
from world_models.errors import require
from world_models.seeding import stable_seed

ROUNDS = 6
"""Rounds of the network that shuffles."""


@dataclass(frozen=True)
class Windows:
    """All windows of `rows` rows within an episode, shuffled anew each epoch.

    Window number n is the same whoever asks for it, and in whatever order: a sequence can be divided among any number of
    workers, or taken up again where it was left. Windows 0 to `count - 1` are all different, and the next epoch begins there.
    """

    lengths: Int[np.ndarray, " episodes"]
    """Rows of each episode of the dataset."""
    rows: int
    seed: int = 0
    episodes: Int[np.ndarray, " chosen"] | None = None
    """Episodes to draw from; None for all."""

    def __post_init__(self) -> None:
        require(self.rows >= 1, f"a window of {self.rows} rows cannot be drawn: ask for at least 1.")
        require(
            self.count > 0,
            f"none of the {len(self._chosen)} episodes has the {self.rows} rows of a window: ask for shorter windows.",
        )

    @property
    def count(self) -> int:
        """Number of different windows."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def at(self, numbers: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Episode and first row of the windows of some numbers >= 0 in the shuffled sequence."""
        epochs, positions = np.divmod(np.asarray(numbers, np.int64), self.count)
        shuffled = np.empty_like(positions)
        for epoch in np.unique(epochs).tolist():
            of_epoch = epochs == epoch
            key = stable_seed(f"windows {self.seed} {epoch}", 8)
            shuffled[of_epoch] = shuffle(positions[of_epoch], self.count, key)
        return self.in_order(shuffled)

    def in_order(self, positions: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Episode and first row of windows by their position in the dataset, 0 to `count - 1`."""
        chosen = np.searchsorted(self._ends, positions, side="right")
        return self._chosen[chosen], positions - (self._ends - self._counts)[chosen]

    @cached_property
    def _chosen(self) -> Int[np.ndarray, " chosen"]:
        return np.arange(len(self.lengths)) if self.episodes is None else np.asarray(self.episodes, np.int64)

    @cached_property
    def _counts(self) -> Int[np.ndarray, " chosen"]:
        return np.maximum(self.lengths[self._chosen] - self.rows + 1, 0)

    @cached_property
    def _ends(self) -> Int[np.ndarray, " chosen"]:
        return np.cumsum(self._counts)


def shuffle(positions: Int[np.ndarray, " n"], count: int, key: int) -> Int[np.ndarray, " n"]:
    """The images of some positions under a permutation of 0 to `count - 1` that a 64-bit key determines.

    A Feistel network over the next even power of two, applied again to what falls outside (cycle walking; Black and Rogaway,
    "Ciphers with arbitrary finite domains", 2002).
    """
    half = max(1, (max(count - 1, 1).bit_length() + 1) // 2)
    found = _permuted(positions.astype(np.uint64), half, key)
    while (outside := found >= count).any():
        found[outside] = _permuted(found[outside], half, key)
    return found.astype(np.int64)


def _permuted(values: UInt64[np.ndarray, " n"], half: int, key: int) -> UInt64[np.ndarray, " n"]:
    mask = np.uint64((1 << half) - 1)
    left, right = values >> np.uint64(half), values & mask
    for step in range(ROUNDS):
        salt = np.uint64((key + step * 0x9E3779B97F4A7C15) % 2**64)
        left, right = right, left ^ (mixed(right ^ salt) & mask)
    return (left << np.uint64(half)) | right


def mixed(values: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """Well-mixed bits of each value (the finaliser of SplitMix64; Steele, Lea and Flood, 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def split_episodes(
    count: int, share: float = 0.1, seed: int = 0
) -> tuple[Int[np.ndarray, " training"], Int[np.ndarray, " validation"]]:
    """Episodes for training and for validation, in rising order; `share` of them, rounded, are for validation.

    With two episodes or more, neither is empty. Raises UserError for a share outside [0, 1).
    """
    require(0 <= share < 1, f"a share of {share} for validation is not between 0 and 1: give e.g. 0.1.")
    held = round(share * count)
    if share > 0 and count >= 2:
        held = min(max(held, 1), count - 1)
    order = shuffle(np.arange(count), count, stable_seed(f"split {seed}", 8)) if count else np.arange(0)
    return np.sort(order[held:]), np.sort(order[:held])


def batches(
    data: Episodes,
    windows: Windows,
    size: int,
    columns: Sequence[str] | None = None,
    begin: int = 0,
    end: int | None = None,
    threads: int = 2,
) -> Iterator[dict[str, np.ndarray]]:
    """Batches `begin` to `end - 1` of `size` windows each, `[size, rows, *shape]` per column, without end if it is None.

    They are read ahead by threads, and come in the same order with any number of them.
    """
    require(size >= 1 and threads >= 1, f"batches of {size} windows by {threads} threads: both must be at least 1.")

    def read(number: int) -> dict[str, np.ndarray]:
        episodes, starts = windows.at(np.arange(number * size, (number + 1) * size))
        return data.windows(episodes, starts, windows.rows, columns)

    waiting: deque[Future[dict[str, np.ndarray]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="data")
    try:
        number = begin
        while True:
            while len(waiting) < 2 * threads and (end is None or number < end):
                waiting.append(pool.submit(read, number))
                number += 1
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
