"""The ledger: the durable record of finished cells, append-only Parquet parts in one folder or under one object-store URI.

A part appears whole or not at all, whatever dies when. Parts are numbered, so that their order needs no clock. One driver
writes at a time, behind a lock. Many small parts are merged into few while it writes. See docs/ledger.md.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from orchestrator.ledger.compaction import Tiers
from orchestrator.ledger.part_cells import Identity, joined
from orchestrator.ledger.parts import (
    Part,
    PartGoneError,
    coded,
    each_once,
    encode,
    inspect,
    name_of,
    read,
    standing,
    verify,
)
from orchestrator.ledger.records import SCHEMA, CellResult, to_table
from orchestrator.storage.base import Storage, StorageError, StorageFull, StorageWaitError
from orchestrator.storage.locks import Holder, Lock
from orchestrator.storage.opening import open_storage
from world_models.errors import UserError

__all__ = ["Holder", "Ledger", "StorageError", "StorageFull", "StorageWaitError"]

FINAL_SECONDS = 1.0
"""Approximate seconds for merging at the end of a writer."""

QUARANTINE = "quarantine"
"""Name of the folder in a ledger to which damaged parts are moved."""

_LISTING_ATTEMPTS = 50
"""Most attempts to list or read a folder that changes meanwhile."""
_IDENTITY = ("point_id", "seed", "status")

_log = logging.getLogger(__name__)
_Read = TypeVar("_Read")


class Ledger:
    """A ledger. Reading needs no lock and works while a sweep writes; writing happens inside `with ledger.writer():`.

    It must not be written from several threads.
    """

    def __init__(self, root: Path | str, files: Storage | None = None, tiers: Tiers | None = None) -> None:
        """Use the ledger at a folder or a URI such as s3://bucket/path; `files` is its storage, if given."""
        self.root = root
        self._files = files or open_storage(root)
        self._tiers = tiers or Tiers()
        self._known: dict[str, Part] = {}
        self._identities: dict[str, Identity] = {}
        """The cells of each part by the part's name, cached because they are small and often needed."""
        self._writing: _Writing | None = None

    @contextmanager
    def writer(self) -> Iterator[None]:
        """Hold the single-writer lock; remove leftovers of a dead writer first, and merge small parts at the end.

        Raises UserError with the holder's host and pid if another driver has the lock, or if the storage cannot be written.
        """
        self._files.prepare()
        lock = self._files.lock()
        lock.acquire()
        try:
            self._files.sweep()
            parts = self._attempt(self._parts)
            standing_names = {part.name for part in parts}
            self._writing = _Writing(self._files, lock, parts, [name for name in self._known if name not in standing_names])
            yield
            self._merge_all(replace(self._tiers, fan=2, growth=2), time.monotonic() + FINAL_SECONDS)
        finally:
            self._writing = None
            lock.release()

    def append(self, results: Iterable[CellResult]) -> None:
        """Write all `results` durably as one part, or nothing.

        Raises StorageFull (or another StorageWaitError) if a retry may help, StorageError if the storage refuses, and
        UserError outside `writer` or if another driver has taken over the ledger.
        """
        if self._writing is None:
            raise UserError(f"the ledger {self._files.where} is not open for writing: append inside `with ledger.writer():`.")
        table = to_table(results)
        if table.num_rows == 0:
            return
        self._writing.append(table)
        self._merge(self._tiers)

    def compact(self) -> None:
        """Merge parts until few are left. Call it inside `writer`."""
        self._merge_all(replace(self._tiers, fan=2, growth=2), None)

    @property
    def quarantine(self) -> str:
        """The folder of damaged parts, which is not read."""
        return self._files.child(QUARANTINE).where

    def verify(self) -> Iterator[tuple[str, UserError | None]]:
        """Compare all of each part with its digests: its name, and what is wrong with it, None if nothing is."""
        for name in self._listed():
            try:
                verify(self._files, name)
            except PartGoneError:  # merged meanwhile
                continue
            except UserError as error:
                yield name, error
            else:
                yield name, None

    def set_aside(self, names: Iterable[str]) -> None:
        """Move parts to the quarantine. Raises UserError if another driver has the lock, or if the storage refuses."""
        lock = self._files.lock()
        lock.acquire()
        try:
            for name in names:
                with suppress(FileNotFoundError):
                    self._files.child(QUARANTINE).write(name, self._files.read(name))
                    self._files.remove(name)
        finally:
            lock.release()

    def holder(self) -> Holder | None:
        """The driver that writes (`alive`) or wrote last; None if there never was one. Watching a lease takes seconds."""
        return self._files.lock().holder()

    def finished_seeds(self, include_failed: bool = True) -> dict[str, Int64[np.ndarray, " _"]]:
        """Sorted seeds of recorded cells, by point id, without failed ones unless included.

        Raises what `table` raises.
        """
        names, point, seed = joined(self._attempt(self._identified), include_failed)
        order = np.lexsort((seed, point))
        point, seed = point[order], seed[order]
        bounds = np.searchsorted(point, np.arange(len(names) + 1))
        spans = zip(names, bounds[:-1], bounds[1:], strict=True)
        return {name: np.unique(seed[a:b]) for name, a, b in spans if b > a}

    def table(
        self, points: Collection[str] | None = None, columns: Sequence[str] | None = None, latest: int | None = None
    ) -> pa.Table:
        """Records of the points with these ids (None: all points), one per cell: the latest that did not fail, else the latest.

        `latest` restricts it to the last parts that together hold so many rows.

        Raises UserError for a part that is corrupt or of a newer schema, and for foreign files in the folder.
        """
        wanted = list(columns) if columns is not None else SCHEMA.names
        needed = tuple(dict.fromkeys([*wanted, *_IDENTITY]))
        point_ids = None if points is None else sorted(set(points))
        return each_once(self._attempt(lambda: self._records(needed, point_ids, latest))).select(wanted)

    def _records(self, columns: Sequence[str], points: Sequence[str] | None, latest: int | None) -> pa.Table:
        """The records of all parts, including duplicates. Raises PartGoneError if the ledger changes meanwhile."""
        parts = [part for part in self._parts() if points is None or part.may_hold(points)]
        if latest is not None:
            before = np.cumsum([0, *(part.rows for part in reversed(parts))])[:-1]
            parts = parts[len(parts) - int(np.count_nonzero(before < latest)) :]
        tables = _each(lambda part: read(self._files, part, columns, points), parts, self._files.readers)
        return pa.concat_tables([SCHEMA.empty_table().select(list(columns)).replace_schema_metadata(), *tables])

    def _identified(self) -> list[Identity]:
        """The cells of each part. Raises PartGoneError if the ledger changes meanwhile."""
        parts = self._parts()
        new = [part for part in parts if part.name not in self._identities]
        found = _each(lambda part: Identity.of(read(self._files, part, _IDENTITY)), new, self._files.readers)
        known = {**self._identities, **{part.name: identity for part, identity in zip(new, found, strict=True)}}
        self._identities = {part.name: known[part.name] for part in parts}
        return list(self._identities.values())

    def _parts(self) -> list[Part]:
        """The parts to read, in the order of writing. Raises PartGoneError if the ledger changes meanwhile."""
        names = self._listed()
        new = [name for name in names if name not in self._known]
        inspected = _each(lambda name: inspect(self._files, name), new, self._files.readers)
        known = {**self._known, **{part.name: part for part in inspected}}
        known = {name: known[name] for name in names}
        self._known = known
        return standing(known.values())

    def _listed(self) -> list[str]:
        """Names of all files. A listing is not atomic: one that misses parts because they were merged is repeated."""
        names = self._named()
        for _ in range(_LISTING_ATTEMPTS):
            again = self._named()
            if set(names) <= set(again):
                return again
            names = again
        return names

    def _named(self) -> list[str]:
        return [name for name in self._files.names() if name != QUARANTINE]

    def _attempt(self, reading: Callable[[], _Read]) -> _Read:
        """The result of `reading`, repeated until no part vanishes meanwhile."""
        for _ in range(_LISTING_ATTEMPTS):
            with suppress(PartGoneError):
                return reading()
        raise UserError(f"the ledger {self._files.where} changes faster than it can be read: try again.")

    def _merge_all(self, tiers: Tiers, deadline: float | None) -> None:
        while self._merge(tiers) and (deadline is None or time.monotonic() < deadline):
            pass

    def _merge(self, tiers: Tiers) -> bool:
        """Merge one run; whether something was merged. A failure costs nothing, because the records are already durable."""
        try:
            return self._writing is not None and self._writing.merge(tiers)
        except (UserError, PartGoneError):
            _log.warning("parts of the ledger %s were not merged", self._files.where, exc_info=True)
            return False


class _Writing:
    """The writer's view of the ledger: the parts in force, and those superseded by merged parts."""

    def __init__(self, files: Storage, lock: Lock, parts: list[Part], covered: list[str]) -> None:
        self._files = files
        self._lock = lock
        self._parts = parts
        self._covered = covered
        self._pause = 0
        """Appends until merging is retried after a failure."""

    def append(self, table: pa.Table) -> None:
        """Write the table as a new part."""
        number = max((part.last for part in self._parts), default=-1) + 1
        self._parts.append(self._write(table, number, None, ()))
        self._pause = max(0, self._pause - 1)

    def merge(self, tiers: Tiers) -> bool:
        """Merge one run of parts if there is one; return whether there was."""
        if self._pause:
            return False
        self._pause = tiers.fan  # unless it succeeds
        self._remove_covered()
        run = tiers.run([part.rows for part in self._parts])
        if run is not None:
            old = self._parts[run]
            tables = _each(lambda part: read(self._files, part, SCHEMA.names), old, self._files.readers)
            table = each_once(pa.concat_tables(tables)).sort_by([("point_id", "ascending"), ("seed", "ascending")])
            table = table.replace_schema_metadata(SCHEMA.metadata)
            self._parts[run] = [self._write(table, old[0].first, old[-1].last, [part.name for part in old])]
            # Only now: until the merged part is durable, the old parts are the records.
            self._covered = [part.name for part in old]
            self._remove_covered()
        self._pause = 0
        return run is not None

    def _remove_covered(self) -> None:
        while self._covered:
            self._files.remove(self._covered[-1])
            self._covered.pop()

    def _write(self, table: pa.Table, first: int, last: int | None, covers: Collection[str]) -> Part:
        self._lock.check()
        data = encode(table, covers)
        name = name_of(data, first, last)
        try:
            self._files.write(name, data)
        except StorageError:
            # The old parts stay in force, so the merged part must not stay in case it arrived.
            if covers:
                with suppress(StorageError):
                    self._files.remove(name)
            raise
        _, ids = coded(table["point_id"])
        return Part(name, first, first if last is None else last, table.num_rows, min(ids), max(ids), frozenset(covers))


_Item = TypeVar("_Item")


def _each(function: Callable[[_Item], _Read], items: Sequence[_Item], threads: int) -> list[_Read]:
    """The function's results for each item, in order."""
    if threads == 1 or len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
