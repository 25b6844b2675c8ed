"""How long batches take, learnt from the ledger and from batches as they finish, with an honest spread.

A batch's time is roughly a fixed part and a part for each row. Where a point has been timed, its own rows say; else the nearest
kind that has been: the same planner on the same task and model, on the task, or anywhere, scaled by the steps planned.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from orchestrator.core.cell import Point, planned_steps
from orchestrator.core.portion import Portion
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger

COLUMNS = ("point_id", "task", "model_digest", "planner", "mode", "horizon", "plan_seconds", "worker_seconds", "batch_size")
"""What `CostModel.learn` reads of a ledger."""

REMEMBERED = 200_000
"""Cells of a ledger that are learnt from, the latest: more would take seconds to read and say the same."""

Z80 = 1.2816
"""Half the width of an interval that holds 80 %, in standard deviations."""
SPREAD_DAY = 0.4
"""Relative spread of all times together from one run to another: hosts differ, machines are shared."""
SPREAD_POINT = 0.2
"""The same of a single point that was timed, besides."""
SPREAD_BATCH = 0.4
"""The same between batches of one point, unless more is known: one has the hard problems. As good as two batches' word."""
SPREAD_SIZE = 0.3
"""The same for batches e times larger or smaller than all that were timed: what each row adds is not known then."""
SPREAD_KIND = (0.5, 0.6, 0.8)
"""The same where the point was never timed, but its planner was on its task and model, on its task, anywhere. As good as two
points' word."""

_IDENTITY = ("point_id", "task", "model_digest", "planner", "mode", "horizon")

Kind = tuple[str, ...]


@runtime_checkable
class Durations(Protocol):
    """What is known about times: `DurationModel`."""

    def add(self, result: BatchResult) -> None:
        """Learn from a finished batch."""
        ...

    def row_seconds(self, point: Point, rows: int = ...) -> float:
        """Seconds a row, or a guess in relative units."""
        ...

    def timed(self, point: Point) -> bool:
        """Whether `row_seconds` are seconds."""
        ...


@dataclass(frozen=True)
class Estimate:
    """Seconds, with an interval that is meant to hold them four times out of five."""

    seconds: float
    low: float
    high: float
    known: bool = True
    """False: nothing like it was ever timed; a guess in relative units."""


@dataclass
class Times:
    """Sums over the rows of one point; logarithms count once a batch."""

    rows: float = 0.0
    seconds: float = 0.0
    """Seconds a row."""
    batches: float = 0.0
    """One over the batch size: these add up to the number of batches."""
    squares: float = 0.0
    """Squares of one over the batch size."""
    products: float = 0.0
    """Seconds a row times one over the batch size."""
    logs: float = 0.0
    log_squares: float = 0.0

    def add(self, *sums: float) -> None:
        """Further rows: the sums in the order of the fields."""
        self.rows += sums[0]
        self.seconds += sums[1]
        self.batches += sums[2]
        self.squares += sums[3]
        self.products += sums[4]
        self.logs += sums[5]
        self.log_squares += sums[6]

    def at(self, rows: int) -> float:
        """Seconds a row in a batch of so many: least squares of seconds against one over the size."""
        mean, inverse = self.seconds / self.rows, self.batches / self.rows
        fixed = (self.products / self.rows - mean * inverse) / self._size_variance if self._size_variance > 1e-4 else 0.0
        fixed = min(max(fixed, 0.0), 0.95 * mean / inverse)
        return max(mean + fixed * (1 / rows - inverse), 0.05 * mean)

    def variance(self, rows: int, batches: float) -> float:
        """Of the logarithm of what so many further batches will take."""
        each = 2 * SPREAD_BATCH**2 + max(0.0, self.log_squares - self.logs**2 / self.batches)
        each /= 2 + max(0.0, self.batches - 1)
        further = 0.0 if self._size_variance > 1e-4 else SPREAD_SIZE * math.log(rows * self.batches / self.rows)
        return SPREAD_POINT**2 + each * (1 / batches + 1 / max(1.0, self.batches)) + further**2

    @property
    def _size_variance(self) -> float:
        """Variance of one over the batch size."""
        return self.squares / self.rows - (self.batches / self.rows) ** 2


@dataclass
class KindTimes:
    """Logarithms of the seconds a row and step of the points of one kind, each point counted once."""

    points: dict[str, float] = field(default_factory=dict)
    total: float = 0.0
    squares: float = 0.0

    def set(self, point_id: str, value: float) -> None:
        """What is known of a point now."""
        old = self.points.get(point_id, 0.0)
        self.points[point_id] = value
        self.total += value - old
        self.squares += value**2 - old**2

    def each(self) -> float:
        """Seconds a row and step, on average."""
        count = len(self.points)
        return math.exp(self.total / count + min(1.0, self._deviations / max(1, count - 1)) / 2)

    def variances(self, least: float) -> tuple[float, float]:
        """Of the logarithm of a further point's time: its own part, and the one that it shares with all of its kind.

        `least` is the spread that two points' word stands for.
        """
        count = len(self.points)
        freedom = 2 + count - 1
        # Of few points the spread itself is hardly known: Student's quantile over the normal one, squared, nearly.
        own = (2 * least**2 + self._deviations) / freedom * (1 + 1.5 / freedom)
        return own, own / count

    @property
    def _deviations(self) -> float:
        return max(0.0, self.squares - self.total**2 / len(self.points))


class DurationModel:
    """Learns from finished cells; failed ones teach nothing."""

    def __init__(self) -> None:
        self._points: dict[str, Times] = {}
        self._kinds: dict[Kind, KindTimes] = {}

    def learn_from(self, ledger: Ledger) -> None:
        """From the latest cells of a ledger; raises what `ledger.table` raises."""
        self.learn(ledger.table(columns=COLUMNS, latest=REMEMBERED))

    def learn(self, table: pa.Table) -> None:
        """From ledger rows with `COLUMNS`."""
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
        """From a finished batch."""
        for record in result.results:
            seconds = record.worker_seconds if record.worker_seconds is not None else record.plan_seconds
            if seconds:
                identity = record.point_id, record.task, record.model_digest, record.planner, record.mode, record.horizon
                inverse, log = 1 / max(1, record.batch_size), math.log(seconds)
                sums = (1.0, seconds, inverse, inverse**2, seconds * inverse, log * inverse, log**2 * inverse)
                self._learn(*identity, sums)

    def timed(self, point: Point) -> bool:
        """Whether the planner of a point was ever timed."""
        return point.point_id in self._points or (point.planner.name,) in self._kinds

    def row_seconds(self, point: Point, rows: int = 8) -> float:
        """Seconds a row in a batch of so many; a guess in relative units where the planner was never timed."""
        return self._row(point, rows, 1.0)[0]

    def batch_seconds(self, point: Point, rows: int) -> Estimate:
        """Of one batch."""
        return self.total([(point, rows, rows)])

    def total(self, batched: Iterable[tuple[Point, int, int]], today: bool = False) -> Estimate:
        """Of (point, cells, rows a batch), one after the other; those that were never timed are left out.

        What scatters from point to point cancels in part; what all of a kind share, and the day, adds up. `today`: the machines
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
        """Planners that were never timed."""
        return sorted({portion.point.planner.name for portion in portions if not self.timed(portion.point)})

    def _row(self, point: Point, rows: int, batches: float) -> tuple[float, float, float, Kind]:
        """Seconds a row, variances of the logarithm of what so many batches take (of the point, of its kind), and the kind."""
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
        """Sums over rows of a point, in the order of the fields of `Times`."""
        times = self._points.setdefault(point_id, Times())
        times.add(*sums)
        a_step = math.log(times.at(8) / planned_steps(mode, horizon))
        for kind in (*_kinds(task, model, planner), ()):
            self._kinds.setdefault(kind, KindTimes()).set(point_id, a_step)


def _sums(seconds: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """What each row adds to the fields of `Times`."""
    inverse, logs = 1 / np.maximum(rows, 1), np.log(seconds)
    return [np.ones_like(seconds), seconds, inverse, inverse**2, seconds * inverse, logs * inverse, logs**2 * inverse]


def _kinds(task: str, model: str, planner: str) -> tuple[Kind, Kind, Kind]:
    """From the nearest kind to the farthest."""
    return (planner, task, model), (planner, task), (planner,)


def rows_per_batch(cells: int, most: int) -> int:
    """Rows of equal batches that hold at most so many."""
    return max(1, math.ceil(cells / max(1, math.ceil(cells / most)))) if cells else 1


def batched_portions(portions: Iterable[Portion], most: int) -> list[tuple[Point, int, int]]:
    """What `CostModel.total` takes, for batches of at most so many rows."""
    return [(portion.point, len(portion), rows_per_batch(len(portion), most)) for portion in portions]


def spread_over(estimate: Estimate, workers: int, overhead: float) -> Estimate:
    """Wall seconds on so many workers, with a fixed overhead."""
    each = np.array([estimate.seconds, estimate.low, estimate.high]) / max(1, workers) + overhead
    return Estimate(float(each[0]), float(each[1]), float(each[2]), estimate.known)
