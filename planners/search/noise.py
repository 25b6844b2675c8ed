"""Noise of a row, which depends only on the row's own seed and the iteration.

Whatever the batch, its order, the worker or the device, a seed draws the same numbers: they are drawn on the CPU, with one
generator per row, for a chunk of iterations at a time (many tiny draws per iteration would cost more than planning does).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from planners.search.search_run import Rows
from planners.settings import Count
from world_models.seeding import stable_seed

_CHUNK_NUMBERS = 1 << 16
_CHUNK_ITERATIONS = 64


def _generator(seed: int, purpose: str, chunk: int) -> torch.Generator:
    return torch.Generator().manual_seed(stable_seed(f"{seed}/{purpose}/{chunk}", 8) >> 1)


class RowNoise:
    """Standard normal noise `[batch, *shape]` for each iteration; a row's iterations must be requested in increasing order.

    `purpose` keeps the streams of one seed apart. The number of iterations in a chunk follows from `shape` alone, never from
    the batch.
    """

    def __init__(self, seeds: Sequence[int], purpose: str, shape: Sequence[int], like: Tensor) -> None:
        self._seeds = tuple(seeds)
        self._purpose = purpose
        self._shape = tuple(shape)
        self._like = like
        numbers = max(1, torch.Size(self._shape).numel())
        self._length = max(1, min(_CHUNK_ITERATIONS, _CHUNK_NUMBERS // numbers))
        self._chunk: Count = -1
        """The chunk that is held; `[batch]` once some rows have been requested apart from the others."""
        self._values = like.new_empty(0)

    def at(self, iteration: Count, rows: Rows | None = None) -> Float[Tensor, "rows *shape"]:
        """Noise of all rows or of `rows`, in one iteration or in each row's own, on the device and in the dtype of `like`.

        An `iteration` tensor has one entry per row of the whole batch, whichever rows are requested.
        """
        if isinstance(iteration, Tensor) or isinstance(self._chunk, Tensor) or rows is not None:
            batch = len(self._seeds)
            return self._by_row(torch.as_tensor(iteration).expand(batch), torch.arange(batch) if rows is None else rows)
        chunk, offset = divmod(iteration, self._length)
        if chunk != self._chunk:
            values = torch.empty(self._length, len(self._seeds), *self._shape)
            for row in range(len(self._seeds)):
                values[:, row] = self._draw(row, chunk)
            self._values, self._chunk = values.to(self._like), chunk
        return self._values[offset]

    def keep(self, rows: Rows) -> None:
        """Keep only these rows; `rows` are on the CPU."""
        self._seeds = tuple(self._seeds[row] for row in rows.tolist())
        if len(self._values):
            self._values = self._values[:, rows.to(self._values.device)]
        if isinstance(self._chunk, Tensor):
            self._chunk = self._chunk[rows]

    def join(self, others: RowNoise) -> None:
        """Append the rows of `others`, which have the same shape and purpose."""
        counts, values = [], []
        for noise in (self, others):
            batch = len(noise._seeds)
            counts.append(torch.as_tensor(noise._chunk).expand(batch))
            empty = noise._like.new_empty(self._length, batch, *self._shape)
            values.append(noise._values if len(noise._values) else empty)
        self._seeds += others._seeds
        self._chunk, self._values = torch.cat(counts), torch.cat(values, 1)

    def _by_row(self, iterations: Int[Tensor, " batch"], rows: Rows) -> Float[Tensor, "rows *shape"]:
        if not isinstance(self._chunk, Tensor):
            self._chunk = torch.full((len(self._seeds),), self._chunk)
        if not len(self._values):
            self._values = self._like.new_empty(self._length, len(self._seeds), *self._shape)
        chunks = iterations // self._length
        for row in rows[self._chunk[rows] != chunks[rows]].tolist():
            self._values[:, row] = self._draw(row, int(chunks[row])).to(self._like)
        self._chunk[rows] = chunks[rows]
        device = self._values.device
        return self._values[(iterations % self._length)[rows].to(device), rows.to(device)]

    def _draw(self, row: int, chunk: int) -> Float[Tensor, "iterations *shape"]:
        generator = _generator(self._seeds[row], self._purpose, chunk)
        return torch.randn(self._length, *self._shape, generator=generator)
