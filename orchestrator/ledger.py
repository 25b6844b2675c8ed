"""The ledger: the durable record of finished cells, append-only Parquet parts in one folder.

A part is written to a temporary name, fsynced, renamed, and its folder fsynced: it exists whole or not at all, whatever dies
when. Parts are numbered, so that their order needs no clock. One driver writes at a time: it holds an flock, which the kernel
drops when the driver dies.
"""

from __future__ import annotations

import fcntl
import os
import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from orchestrator.provenance import host
from orchestrator.records import SCHEMA, SCHEMA_VERSION, VERSION_KEY, CellResult, to_table
from world_models.errors import UserError

_PART = re.compile(r"part-(\d{8})-[0-9a-f]{8}\.parquet")
_TEMPORARY = ".part-*.tmp"
_LOCK = ".lock"


class Ledger:
    """Reading needs no lock and works while a sweep writes; writing happens inside `with ledger.writer():`.

    Not to be written from several threads.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._checked: frozenset[str] = frozenset()
        self._next: int | None = None

    @contextmanager
    def writer(self) -> Iterator[None]:
        """Hold the single-writer lock; leftovers of a writer that died are swept away.

        Raises UserError naming the holder's host and pid when another driver has it, or when the folder can't be written.
        """
        lock = self._lock()
        try:
            for leftover in self.root.glob(_TEMPORARY):
                leftover.unlink(missing_ok=True)
            numbers = [int(match[1]) for part in self._parts() if (match := _PART.fullmatch(part.name))]
            self._next = max(numbers, default=-1) + 1
            yield
        finally:
            self._next = None
            os.close(lock)

    def append(self, results: Iterable[CellResult]) -> None:
        """One durable part of all `results`, or nothing. UserError when the disk refuses, or outside `writer`."""
        if self._next is None:
            raise UserError(f"the ledger {self.root} is not open for writing: append inside `with ledger.writer():`.")
        table = to_table(results)
        if table.num_rows == 0:
            return
        name = f"part-{self._next:08d}-{uuid.uuid4().hex[:8]}"
        temporary = self.root / f".{name}.tmp"
        try:
            _write_durably(table, temporary, self.root / f"{name}.parquet")
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise UserError(f"cannot write to the ledger {self.root} ({_reason(error)}): mend that and run again.") from error
        self._next += 1

    def finished(self, cell_ids: Iterable[str] | None = None, include_failed: bool = True) -> set[str]:
        """Ids of recorded cells (of those asked for); without failed ones if they are to be run again."""
        table = self.table(columns=["cell_id", "status"])
        if not include_failed:
            table = table.filter(pc.field("status") != "failed")
        recorded = set(table["cell_id"].to_pylist())
        return recorded if cell_ids is None else recorded.intersection(cell_ids)

    def table(self, cell_ids: Collection[str] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Records, each cell at most once: its first record that did not fail, else its latest.

        Raises UserError for a part that is corrupt or of a newer schema, and for foreign files in the folder.
        """
        parts = self._parts()
        wanted = list(columns) if columns is not None else SCHEMA.names
        if not parts:
            return SCHEMA.empty_table().select(wanted)
        needed = list(dict.fromkeys([*wanted, "cell_id", "status"]))
        chosen = None if cell_ids is None else pc.field("cell_id").isin(pa.array(list(cell_ids), pa.string()))
        dataset = ds.dataset([str(part) for part in parts], schema=SCHEMA, format="parquet")
        return _deduplicated(dataset.to_table(columns=needed, filter=chosen)).select(wanted)

    def _parts(self) -> list[Path]:
        """Parts in the order they were written, each checked once."""
        if not self.root.exists():
            return []
        try:
            names = sorted(path.name for path in self.root.iterdir() if not path.name.startswith("."))
        except OSError as error:
            raise UserError(
                f"cannot read the ledger {self.root} ({_reason(error)}): give a folder that can be read."
            ) from error
        for name in names:
            if name not in self._checked:
                _check_part(self.root / name)
        self._checked = frozenset(names)
        return [self.root / name for name in names]

    def _lock(self) -> int:
        """The lock's file descriptor; closing it (or dying) frees the lock."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            sentence = f"cannot write to the folder {self.root} ({_reason(error)}): choose one that you may write to."
            raise UserError(sentence) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(lock, 200, 0).decode(errors="replace").strip() or "an unknown process"
            os.close(lock)
            sentence = f"another driver writes to the ledger {self.root} ({holder}): wait for it, or stop it and run again."
            raise UserError(sentence) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"host {host()}, pid {os.getpid()}\n".encode(), 0)
        return lock


def _write_durably(table: pa.Table, temporary: Path, final: Path) -> None:
    with temporary.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(final)
    folder = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _check_part(path: Path) -> None:
    """UserError unless the file is a ledger part that this version can read."""
    if not _PART.fullmatch(path.name):
        raise UserError(f"{path} is no part of a ledger: move it out of the folder {path.parent}, which holds nothing else.")
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(
            f"the ledger part {path} cannot be read ({_reason(error)}): move it away to run its cells again."
        ) from error
    version = (schema.metadata or {}).get(VERSION_KEY, b"").decode(errors="replace")
    if not version.isdigit():
        raise UserError(f"{path} is a Parquet file but no ledger part (it has no schema version): move it away.")
    if int(version) > SCHEMA_VERSION:
        raise UserError(
            f"the ledger part {path} has schema version {version}, newer than {SCHEMA_VERSION}: "
            "update grasp-orchestrator, or choose another output folder."
        )


def _deduplicated(table: pa.Table) -> pa.Table:
    """Each cell once. Doubles are rare (a failed cell that was run again), so the common case is one count."""
    if len(table["cell_id"].unique()) == table.num_rows:
        return table
    best: dict[str, int] = {}
    failed = [status == "failed" for status in table["status"].to_pylist()]
    for row, cell_id in enumerate(table["cell_id"].to_pylist()):
        if cell_id not in best or failed[best[cell_id]]:
            best[cell_id] = row
    return table.take(pa.array(sorted(best.values()), pa.int64()))


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0][:200] if text else type(error).__name__
