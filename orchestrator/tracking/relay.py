"""The outbox relay: reads the data of the outbox's records from the ledger and hands it to the tracker."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import LISTS, SCHEMA, CellResult
from orchestrator.tracking.content.overview import CURVE_COLUMNS, OVERVIEW_COLUMNS, curve, overview, points_table
from orchestrator.tracking.content.points import POINT_COLUMNS, Row, contents
from orchestrator.tracking.content.sweep_info import CellSet, Labels, PointLabels
from orchestrator.tracking.outbox import Outbox, PointsRecord, Record, SweepRecord
from orchestrator.tracking.tracker import LISTED_CELLS, Tracker

AT_ONCE = 10_000
"""Most cells that are read from the ledger at once, unless a single point has more."""


class RecentCells:
    """A cache of recently recorded cells that are not delivered yet, so that the ledger need not be read for them.

    It is incomplete; points that it does not hold whole are read from the ledger.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._held = 0
        self._rows: dict[str, list[Row]] = {}

    def add(self, results: Sequence[CellResult]) -> None:
        """Add cells, after clearing the cache if it would hold too many."""
        if self._held + len(results) > self._limit:
            self._rows.clear()
            self._held = 0
        for result in results:
            row = {column: getattr(result, column) for column in POINT_COLUMNS}
            self._rows.setdefault(result.point_id, []).append(row)
        self._held += len(results)

    def rows(self, cells: CellSet) -> tuple[list[Row], CellSet]:
        """Rows of the points that are held whole, and the remaining `cells`."""
        rows: list[Row] = []
        rest: list[str] = []
        for group in cells.groups:
            for point in group.points:
                held = self._rows.get(point, [])
                whole = len(held) == len(group.seeds) and {row["seed"] for row in held} == set(group.seeds.tolist())
                rows += held if whole else []
                rest += [] if whole else [point]
        return rows, cells.restricted_to(rest)

    def drop(self, points: Sequence[str]) -> None:
        """Drop the rows of these points."""
        for point in points:
            self._held -= len(self._rows.pop(point, []))


class OutboxRelay:
    """Delivers the records of one outbox. For one thread at a time, inside `outbox.exclusive()`.

    An error (a TrackingError, or a UserError of the ledger) leaves its record in the outbox.
    """

    def __init__(self, outbox: Outbox, tracker: Tracker, ledger: Ledger, artifacts: Path | str) -> None:
        self.outbox = outbox
        self.tracker = tracker
        self.refused: list[str] = []
        """Sentences about points that MLflow refused."""
        self.read_seconds = 0.0
        """Seconds spent reading the ledger for the latest record."""
        self.recent = RecentCells()
        self._ledger = ledger
        self._artifacts = artifacts
        self._open: dict[str, str] = {}
        """Sweeps that have begun, by the name of their record, which stays until the sweep's end."""

    def deliver_next(self, adopt: Callable[[SweepRecord], bool]) -> bool:
        """Deliver the first waiting records, merging points of one sweep; False if nothing waits.

        `adopt` says whether the driver of a sweep that has not ended is gone; then the sweep is written as it is.
        """
        names = [name for name in self.outbox.names() if name not in self._open]
        waiting = ((name, record) for name in names if (record := self.outbox.read(name)) is not None)
        taken: list[str] = []
        cells: list[CellSet] = []
        labels: dict[str, PointLabels] = {}
        sweep = ""
        for name, record in waiting:
            if not isinstance(record, PointsRecord):
                if not taken:
                    self._deliver_sweep(name, record, adopt)
                    return True
                break
            if taken and (record.sweep != sweep or sum(map(len, cells)) + len(record.cells) > AT_ONCE):
                break
            taken.append(name)
            cells.append(record.cells)
            labels |= record.labels
            sweep = record.sweep
        if not taken:
            return False
        self.deliver(PointsRecord(sweep, CellSet.merged(cells), labels))
        self.outbox.discard(taken)
        return True

    def deliver(self, record: Record, adopted: bool = False) -> None:
        """Write a record's data to the tracker; `adopted` treats the sweep as ended."""
        self.read_seconds = 0.0
        if isinstance(record, PointsRecord):
            self._points(record.sweep, record.cells, record.labels)
        elif record.ended or adopted:
            self._end(record)
        else:
            self.tracker.begin(record.info)
        if isinstance(record, SweepRecord) and record.ended:
            begun = [name for name, sweep in self._open.items() if sweep == record.sweep]
            for name in begun:
                del self._open[name]
            self.outbox.discard(begun)

    def _deliver_sweep(self, name: str, record: SweepRecord, adopt: Callable[[SweepRecord], bool]) -> None:
        adopted = not record.ended and adopt(record) and not self._end_waits(record.sweep)
        self.deliver(record, adopted)
        if record.ended or adopted:
            self.outbox.discard([name])
        else:
            self._open[name] = record.sweep

    def _end_waits(self, sweep: str) -> bool:
        records = (self.outbox.read(name) for name in self.outbox.names())
        return any(isinstance(record, SweepRecord) and record.ended and record.sweep == sweep for record in records)

    def _end(self, record: SweepRecord) -> None:
        """Write everything that the ledger has of a sweep, and its page."""
        table = self._read(record.cells, OVERVIEW_COLUMNS)
        labels = record.info.labels
        sweep_overview = overview(table, labels)
        self._points(record.sweep, record.cells.restricted_to(self.tracker.stale(record.sweep, sweep_overview)), labels)
        # Not with the points, because artifacts are drawn once everything is planned, or by a later run.
        seeds = {point: group.seeds for group in record.cells.groups for point in group.points}
        self.refused += self.tracker.log_pictures(record.sweep, seeds, self._artifacts)
        cells = None
        if sweep_overview.cells <= LISTED_CELLS:
            cells = self._read(record.cells, [name for name in SCHEMA.names if name not in LISTS])
        figures = [Path(figure) for figure in record.figures if Path(figure).exists()]
        complete = sweep_overview.cells == len(record.cells)
        self.tracker.end(record.info, sweep_overview, cells, figures, complete, points_table(table, labels))

    def log_curve(self, sweep: str, cells: CellSet) -> None:
        """Add to a running sweep's curves what the ledger has of its cells."""
        self.read_seconds = 0.0
        table = self._read(cells, CURVE_COLUMNS)
        if table.num_rows:
            self.tracker.log_curve(sweep, curve(table, len(cells)))

    def _points(self, sweep: str, cells: CellSet, labels: Labels) -> None:
        for part in cells.split(AT_ONCE):
            rows, unknown = self.recent.rows(part)
            if unknown.groups:
                rows += self._read(unknown, POINT_COLUMNS).to_pylist()
            order = {point: index for index, point in enumerate(part.points)}
            points = sorted(contents(rows, labels), key=lambda point: order[point.point_id])
            self.refused += self.tracker.log_points(sweep, points)
            self.recent.drop(part.points)

    def _read(self, cells: CellSet, columns: Sequence[str]) -> pa.Table:
        began = time.perf_counter()
        table = cells.select(self._ledger.table(points=cells.points, columns=list(columns)))
        self.read_seconds += time.perf_counter() - began
        return table
