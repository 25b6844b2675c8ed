"""Durations of batches, learnt from the ledger and from batches as they finish, with calibrated intervals.

A batch takes roughly a fixed time and a time per row. A timed point is estimated from its own rows, any other from the nearest
timed kind: the same planner on the same task and model, on the task, or anywhere, scaled by the steps planned.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from orchestrator.core.cell import Point
from orchestrator.core.modes import planned_steps
from orchestrator.core.portion import Portion
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger

COLUMNS = ("point_id", "task", "model_digest", "planner", "mode", "horizon", "plan_seconds", "worker_seconds", "batch_size")
"""Ledger columns that `DurationModel.learn` reads."""

REMEMBERED = 200_000
"""How many of a ledger's latest cells are learnt from: more would take seconds to read and add nothing."""

Z80 = 1.2816
"""Half the width of an 80 % interval, in standard deviations."""
SPREAD_DAY = 0.4
"""Relative spread of all durations from run to run: hosts differ, machines are shared."""
SPREAD_POINT = 0.2
"""Further relative spread of a single timed point."""
SPREAD_BATCH = 0.4
"""Prior relative spread between batches of one point, because some hold the hard problems. It weighs as much as two batches."""
SPREAD_SIZE = 0.3
"""Relative spread for batches e times larger or smaller than any timed one, because the time per row is then unknown."""
SPREAD_KIND = (0.5, 0.6, 0.8)
"""Prior relative spread of an untimed point whose planner was timed on its task and model, on its task, or anywhere. It weighs
as much as two points."""

_IDENTITY = ("point_id", "task", "model_digest", "planner", "mode", "horizon")

Kind = tuple[str, ...]


@runtime_checkable
class Durations(Protocol):
    """Known durations, such as a `DurationModel`."""

    def add(self, result: BatchResult) -> None:
        """Learn from a finished batch."""
        ...

    def row_seconds(self, point: Point, rows: int = ...) -> float:
        """Seconds per row, or a guess in relative units."""
        ...

    def timed(self, point: Point) -> bool:
        """Whether `row_seconds` is in seconds."""
        ...


@dataclass(frozen=True)
class Estimate:
    """A duration in seconds, with an 80 % interval."""

    seconds: float
    low: float
    high: float
    known: bool = True
    """False if nothing similar was ever timed: the values are then a guess in relative units."""


@dataclass
class Times:
    """Sums over the rows of one point; logarithms count once per batch."""

    rows: float = 0.0
    seconds: float = 0.0
    """Seconds per row."""
    batches: float = 0.0
    """Inverse batch sizes, which add up to the number of batches."""
    squares: float = 0.0
    """Squares of the inverse batch sizes."""
    products: float = 0.0
    """Seconds per row times the inverse batch size."""
    logs: float = 0.0
    log_squares: float = 0.0

    def add(self, *sums: float) -> None:
        """Add the sums of further rows, in the order of the fields."""
        self.rows += sums[0]
        self.seconds += sums[1]
        self.batches += sums[2]
        self.squares += sums[3]
        self.products += sums[4]
        self.logs += sums[5]
        self.log_squares += sums[6]

    def at(self, rows: int) -> float:
        """Seconds per row in a batch of so many rows: least squares of seconds against the inverse size."""
        mean, inverse = self.seconds / self.rows, self.batches / self.rows
        fixed = (self.products / self.rows - mean * inverse) / self._size_variance if self._size_variance > 1e-4 else 0.0
        fixed = min(max(fixed, 0.0), 0.95 * mean / inverse)
        return max(mean + fixed * (1 / rows - inverse), 0.05 * mean)

    def variance(self, rows: int, batches: float) -> float:
        """Variance of the logarithm of the duration of so many further batches."""
        each = 2 * SPREAD_BATCH**2 + max(0.0, self.log_squares - self.logs**2 / self.batches)
        each /= 2 + max(0.0, self.batches - 1)
        further = 0.0 if self._size_variance > 1e-4 else SPREAD_SIZE * math.log(rows * self.batches / self.rows)
        return SPREAD_POINT**2 + each * (1 / batches + 1 / max(1.0, self.batches)) + further**2

    @property
    def _size_variance(self) -> float:
        """Variance of the inverse batch size."""
        return self.squares / self.rows - (self.batches / self.rows) ** 2


@dataclass
class KindTimes:
    """Logarithms of the seconds per row and step of the points of one kind; each point counts once."""

    points: dict[str, float] = field(default_factory=dict)
    total: float = 0.0
    squares: float = 0.0

    def set(self, point_id: str, value: float) -> None:
        """Set the logarithm of a point."""
        old = self.points.get(point_id, 0.0)
        self.points[point_id] = value
        self.total += value - old
        self.squares += value**2 - old**2

    def each(self) -> float:
        """Mean seconds per row and step."""
        count = len(self.points)
        return math.exp(self.total / count + min(1.0, self._deviations / max(1, count - 1)) / 2)

    def variances(self, least: float) -> tuple[float, float]:
        """Variances of the logarithm of a further point's duration: its own part, and the part shared by all of its kind.

        `least` is the prior spread, which weighs as much as two points.
        """
        count = len(self.points)
        freedom = 2 + count - 1
        # With few points the spread itself is uncertain: about the square of Student's quantile over the normal one.
        own = (2 * least**2 + self._deviations) / freedom * (1 + 1.5 / freedom)
        return own, own / count

    @property
    def _deviations(self) -> float:
        return max(0.0, self.squares - self.total**2 / len(self.points))


class DurationModel:
    """Durations learnt from finished cells; failed cells are ignored."""

    def __init__(self) -> None:
        self._points: dict[str, Times] = {}
        self._kinds: dict[Kind, KindTimes] = {}

    def learn_from(self, ledger: Ledger) -> None:
        """Learn from the latest cells of a ledger. Raises what `ledger.table` raises."""
        self.learn(ledger.table(columns=COLUMNS, latest=REMEMBERED))

    def learn(self, table: pa.Table) -> None:
        """Learn from ledger rows with `COLUMNS`."""
        planned, worked = (table[name].to_numpy() for name in ("plan_seconds", "worker_seconds"))
        seconds = np.nan_to_num(np.where(np.isnan(worked), planned, worked))
        timed = np.flatnonzero(seconds > 0)
        if not len(timed):
            return
        points = table["point_id"].combine_chunks().dictionary_encode().indices.to_numpy()[timed]
        sums = _sums(seconds[timed], table["batch_size"].to_numpy()[timed])
        codes, first, points = np.unique(points, return_index=True, return_inverse=True)
        totals = np.stack([np.bincount(points, each, len(codes)) for each in sums], 1).tolist()
        for row, of_point in zip(table.select(_IDENTITY).take(timed[first]).to_pylist(), totals, strict=True):
            self._learn(*(row[name] for name in _IDENTITY), sums=of_point)

    def add(self, result: BatchResult) -> None:
        """Learn from a finished batch."""
        for record in result.results:
            seconds = record.worker_seconds if record.worker_seconds is not None else record.plan_seconds
            if seconds:
                identity = record.point_id, record.task, record.model_digest, record.planner, record.mode, record.horizon
                inverse, log = 1 / max(1, record.batch_size), math.log(seconds)
                sums = (1.0, seconds, inverse, inverse**2, seconds * inverse, log * inverse, log**2 * inverse)
                self._learn(*identity, sums)

    def timed(self, point: Point) -> bool:
        """Whether the point or its planner was ever timed."""
        return point.point_id in self._points or (point.planner.name,) in self._kinds

    def row_seconds(self, point: Point, rows: int = 8) -> float:
        """Seconds per row in a batch of so many rows; a guess in relative units if the planner was never timed."""
        return self._row(point, rows, 1.0)[0]

    def batch_seconds(self, point: Point, rows: int) -> Estimate:
        """The duration of one batch."""
        return self.total([(point, rows, rows)])

    def total(self, batched: Iterable[tuple[Point, int, int]], today: bool = False) -> Estimate:
        """The duration of (point, cells, rows per batch), one after the other; those never timed are left out.

        Errors of single points partly cancel; errors shared by a kind or by a whole run add up. `today` says that the machines
        are those that were timed.
        """
        seconds = variance = 0.0
        shared: dict[Kind, float] = defaultdict(float)
        known = False
        for point, cells, rows in batched:
            if self.timed(point):
                known = True
                each, of_point, of_kind, kind = self._row(point, rows, cells / rows)
                seconds += cells * each
                variance += (cells * each) ** 2 * of_point
                shared[kind] += cells * each * math.sqrt(of_kind)
        if not seconds:
            return Estimate(0.0, 0.0, 0.0, known)
        day = 0.0 if today else SPREAD_DAY**2
        variance += sum(error**2 for error in shared.values())
        factor = math.exp(Z80 * math.sqrt(variance / seconds**2 + day))
        return Estimate(seconds, seconds / factor, seconds * factor)

    def unknown(self, portions: Iterable[Portion]) -> list[str]:
        """Names of the planners that were never timed."""
        return sorted({portion.point.planner.name for portion in portions if not self.timed(portion.point)})

    def _row(self, point: Point, rows: int, batches: float) -> tuple[float, float, float, Kind]:
        """Seconds per row, variances of the logarithm of the duration of so many batches (point's, kind's), and the kind."""
        own = self._points.get(point.point_id)
        if own is not None:
            return own.at(rows), own.variance(rows, batches), 0.0, ()
        steps = planned_steps(point.mode, point.horizon)
        for kind, least in zip(_kinds(point.task.name, point.model_digest, point.planner.name), SPREAD_KIND, strict=True):
            if kind in self._kinds:
                return self._kinds[kind].each() * steps, *self._kinds[kind].variances(least), kind
        anything = self._kinds.get(())
        return steps * (anything.each() if anything else 1.0), SPREAD_KIND[-1], SPREAD_KIND[-1], ()

    def _learn(
        self, point_id: str, task: str, model: str, planner: str, mode: str, horizon: int, sums: Sequence[float]
    ) -> None:
        """Learn sums over rows of a point, in the order of the fields of `Times`."""
        times = self._points.setdefault(point_id, Times())
        times.add(*sums)
        log_step = math.log(times.at(8) / planned_steps(mode, horizon))
        for kind in (*_kinds(task, model, planner), ()):
            self._kinds.setdefault(kind, KindTimes()).set(point_id, log_step)


def _sums(seconds: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """The amounts that each row adds to the fields of `Times`."""
    inverse, logs = 1 / np.maximum(rows, 1), np.log(seconds)
    return [np.ones_like(seconds), seconds, inverse, inverse**2, seconds * inverse, logs * inverse, logs**2 * inverse]


def _kinds(task: str, model: str, planner: str) -> tuple[Kind, Kind, Kind]:
    """The kinds of a point, from the nearest to the farthest."""
    return (planner, task, model), (planner, task), (planner,)


def rows_per_batch(cells: int, most: int) -> int:
    """Rows per batch when cells are split into equal batches of at most `most` rows."""
    return max(1, math.ceil(cells / max(1, math.ceil(cells / most)))) if cells else 1


def batched_portions(portions: Iterable[Portion], most: int) -> list[tuple[Point, int, int]]:
    """The arguments of `DurationModel.total` for batches of at most `most` rows."""
    return [(portion.point, len(portion), rows_per_batch(len(portion), most)) for portion in portions]


def spread_over(estimate: Estimate, workers: int, overhead: float) -> Estimate:
    """Wall time on so many workers, with a fixed overhead, all in seconds."""
    each = np.array([estimate.seconds, estimate.low, estimate.high]) / max(1, workers) + overhead
    return Estimate(float(each[0]), float(each[1]), float(each[2]), estimate.known)
