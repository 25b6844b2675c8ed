"""Noise that belongs to a row: it depends on the row's own seed and the iteration only.

Whatever the batch, its order, the worker or the device, a seed draws the same numbers: they are drawn on the CPU, a generator a
row, for a chunk of iterations at a time (many tiny draws an iteration would cost more than planning does).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

_CHUNK_NUMBERS = 1 << 16
_CHUNK_ITERATIONS = 64


def _generator(seed: int, purpose: str, chunk: int) -> torch.Generator:
    digest = hashlib.blake2b(f"{seed}/{purpose}/{chunk}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


class RowNoise:
    """Standard normal noise `[batch, *shape]` for each iteration; iterations are asked for in rising order.

    `purpose` keeps the streams of one seed apart. How many iterations a chunk holds follows from `shape` alone, never from
    the batch.
    """

    def __init__(self, seeds: Sequence[int], purpose: str, shape: Sequence[int], like: Tensor) -> None:
        self._seeds = tuple(seeds)
        self._purpose = purpose
        self._shape = tuple(shape)
        self._like = like
        numbers = max(1, torch.Size(self._shape).numel())
        self._length = max(1, min(_CHUNK_ITERATIONS, _CHUNK_NUMBERS // numbers))
        self._chunk = -1
        self._values = like.new_empty(0)

    def at(self, iteration: int) -> Float[Tensor, "batch *shape"]:
        """The noise of one iteration, on the device and in the type of `like`."""
        chunk, offset = divmod(iteration, self._length)
        if chunk != self._chunk:
            self._values = self._draw(chunk)
            self._chunk = chunk
        return self._values[offset]

    def keep(self, rows: Int[Tensor, " rows"]) -> None:
        """Go on with these of the rows; `rows` are on the CPU."""
        self._seeds = tuple(self._seeds[row] for row in rows.tolist())
        if self._chunk >= 0:
            self._values = self._values[:, rows.to(self._values.device)]

    def _draw(self, chunk: int) -> Float[Tensor, "iterations batch *shape"]:
        values = torch.empty(self._length, len(self._seeds), *self._shape)
        for row, seed in enumerate(self._seeds):
            generator = _generator(seed, self._purpose, chunk)
            values[:, row] = torch.randn(self._length, *self._shape, generator=generator)
        return values.to(self._like)
