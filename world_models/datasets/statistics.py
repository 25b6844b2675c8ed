"""Statistics of columns, in one pass over the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from world_models.datasets.base import Column, Episodes, Role
from world_models.datasets.blocks import Block, blocks


@dataclass(frozen=True)
class ColumnStatistics:
    """Statistics of a column by feature, over its finite values; NaN where there are none."""

    count: Int[np.ndarray, " feature"]
    """Finite values."""
    odd: Int[np.ndarray, " feature"]
    """Values that are NaN or infinite, without those of last rows that lack an action."""
    minimum: Float[np.ndarray, " feature"]
    maximum: Float[np.ndarray, " feature"]
    mean: Float[np.ndarray, " feature"]
    std: Float[np.ndarray, " feature"]
    """Standard deviation with n in the denominator."""


def statistics(data: Episodes, columns: Sequence[str] | None = None) -> dict[str, ColumnStatistics]:
    """Statistics of some columns; without names, of all but pictures. A transition column's last rows do not count.

    From the last row of an episode nothing leads on, so its action tells nothing, even where one was recorded.
    """
    names = [name for name, column in data.columns.items() if column.role is not Role.PIXELS] if columns is None else columns
    found = {name: Moments(data.columns[name]) for name in names}
    for block in blocks(data, list(names)):
        for name, moments in found.items():
            moments.add(used_rows(data, data.columns[name], block))
    return {name: moments.result() for name, moments in found.items()}


def used_rows(data: Episodes, column: Column, block: Block) -> np.ndarray:
    """A block's values of a column, without those of a transition from an episode's last row."""
    values = block.values[column.name]
    if not column.transition:
        return values
    return values[block.rows < data.lengths[block.episodes] - 1]


class Moments:
    """Mean and variance that are put together of parts (Chan, Golub and LeVeque, 1979)."""

    def __init__(self, column: Column) -> None:
        size = int(np.prod(column.shape, dtype=np.int64))
        self._count, self._odd = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self._mean, self._square = np.zeros(size), np.zeros(size)
        self._minimum, self._maximum = np.full(size, np.inf), np.full(size, -np.inf)

    def add(self, values: np.ndarray) -> None:
        """Add rows `[rows, *shape]`."""
        if not values.size:
            return
        flat = values.reshape(len(values), -1).astype(np.float64)
        finite = np.isfinite(flat)
        if finite.all():
            count, known = np.full(flat.shape[1], len(flat)), flat
            mean = flat.mean(0)
            square = ((flat - mean) ** 2).sum(0)
        else:
            count, known = finite.sum(0), np.where(finite, flat, 0.0)
            self._odd += len(flat) - count
            mean = known.sum(0) / np.maximum(count, 1)
            square = (np.where(finite, flat - mean, 0.0) ** 2).sum(0)
        total = self._count + count
        share = count / np.maximum(total, 1)
        apart = mean - self._mean
        self._square += square + apart**2 * self._count * share
        self._mean += apart * share
        self._minimum = np.minimum(self._minimum, np.where(finite, flat, np.inf).min(0))
        self._maximum = np.maximum(self._maximum, np.where(finite, flat, -np.inf).max(0))
        self._count = total

    def result(self) -> ColumnStatistics:
        """The statistics of what was added."""
        none = self._count == 0
        spread = np.sqrt(self._square / np.maximum(self._count, 1))
        parts = [np.where(none, np.nan, part) for part in (self._minimum, self._maximum, self._mean, spread)]
        return ColumnStatistics(self._count.copy(), self._odd.copy(), *parts)
