"""Memory limits: the rows of a kind of batch that fit into a worker's memory, measured once and kept in a small file.

A kind is what may share a batch (`orchestrator.core.mixing`) on a kind of device. The first batch of a kind is small, and its
memory tells how many rows fit. A batch that runs out of memory nevertheless lowers the limit for good.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from orchestrator.core import mixing
from orchestrator.core.cell import Point
from world_models.files.reading import Count, read_or_set_aside, to_json
from world_models.files.writing import WriteError, write_file

SHARE = 0.8
"""The share of a worker's memory that batches may fill, because a measurement at one size is extrapolated to others."""

MANY = 2**31
"""The limit in rows if nothing says that fewer fit."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MemoryLimit:
    """Known memory use of a kind of batch."""

    rows: Count = 0
    """Rows of the largest measured batch; 0 if none was measured."""
    bytes_per_row: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Its peak memory over its rows: an overestimate, because part of the peak does not grow with the rows."""
    max_rows: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    """Rows that may fit: half of the smallest batch that ran out of memory; None if none did."""


class MemoryLimits:
    """Memory limits by kind, saved to `file` when something new is learnt (None: kept in memory only)."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        # They can be measured again.
        read = None if file is None else read_or_set_aside(file, dict[str, MemoryLimit], "a file of memory limits")
        self._known: dict[str, MemoryLimit] = read or {}

    def limit(self, point: Point, device: str, budget: int | None) -> int | None:
        """Rows of a point that fit into `budget` bytes on a kind of device; None if nothing is known yet."""
        entry = self._known.get(kind_of(point, device))
        if entry is None:
            return None
        fits = [MANY] if entry.max_rows is None else [entry.max_rows]
        if entry.bytes_per_row and budget:
            fits.append(int(SHARE * budget / entry.bytes_per_row))
        return max(1, min(fits))

    def bytes_per_row(self, point: Point, device: str) -> float | None:
        """Peak memory per row in bytes; None if it was not measured."""
        entry = self._known.get(kind_of(point, device))
        return None if entry is None else entry.bytes_per_row

    def measured(self, point: Point, device: str, rows: int, peak: int | None) -> None:
        """Learn that a batch of `rows` took `peak` bytes above what its worker holds anyway; None: it only fitted."""
        kind = kind_of(point, device)
        entry = self._known.get(kind, MemoryLimit())
        if rows > entry.rows:
            self._learn(
                kind, replace(entry, rows=rows, bytes_per_row=entry.bytes_per_row if peak is None else max(peak, 1) / rows)
            )

    def too_large(self, point: Point, device: str, rows: int) -> None:
        """Learn that a batch of `rows` ran out of memory."""
        kind = kind_of(point, device)
        entry = self._known.get(kind, MemoryLimit())
        self._learn(kind, replace(entry, max_rows=max(1, min(rows // 2, entry.max_rows or rows))))

    def _learn(self, kind: str, entry: MemoryLimit) -> None:
        self._known[kind] = entry
        if self._file is None:
            return
        try:
            write_file(self._file, to_json(dict(sorted(self._known.items())), indent=1))
        except WriteError as error:  # the file only saves a measurement
            _log.warning("%s", error)


def kind_of(point: Point, device: str) -> str:
    """The kind of the point's batches on a kind of device, e.g. `cpu`."""
    planner = f"{point.planner.name}-{mixing.kind_of(point)}"
    return f"{point.model_digest}/H{point.horizon}/{planner}/{device.partition(':')[0]}"
