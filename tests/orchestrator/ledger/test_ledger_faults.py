"""The ledger under faults: a disk that dies and forgets at any system call, a process that is killed at each, full disks."""

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.ledger.compaction import Tiers
from orchestrator.ledger.ledger import Ledger, StorageError, StorageFull
from orchestrator.ledger.records import CellResult
from orchestrator.storage.local import LocalStorage
from orchestrator.storage.locks import Holder, Lock
from orchestrator.testing import plane_point, quick_result
from tests.orchestrator.ledger.disk_model import ROOT, Crash, Faults, ModelDisk

CHECKOUT = Path(__file__).resolve().parents[3]
TIERS = Tiers(fan=3, growth=2, rows=40)
"""Tiers that merge at about every third append, up to parts that are left alone."""
BATCH = 3
"""Number of cells in a batch."""
TEMPLATES = [quick_result(point, tuple(range(BATCH))).results for point in (plane_point(4), plane_point(8))]


def batch(number: int) -> tuple[CellResult, ...]:
    """The records of an append, identified by their seeds; every fourth append retries the one before."""
    kind, first = TEMPLATES[number % 2], number * BATCH
    return tuple(
        replace(r, seed=first + k, cell_id=f"{number}-{k}", status="completed", distance=float(first + k))
        for k, r in enumerate(kind)
    )


class NoLock:
    """A lock that does nothing, since only one process uses the model of a disk."""

    def acquire(self) -> None: ...

    def check(self) -> None: ...

    def release(self) -> None: ...

    def holder(self) -> Holder | None:
        return None


class ModelStorage(LocalStorage):
    def lock(self) -> Lock:
        return NoLock()


def ledger_on(disk: ModelDisk) -> Ledger:
    folder = ROOT / "outputs" / "ledger"
    return Ledger(folder, files=ModelStorage(folder, disk), tiers=TIERS)


@dataclass(frozen=True)
class Epoch:
    """The life of one driver."""

    appends: int
    crash_at: int | None
    crash_after: bool
    power: bool
    errors: dict[int, str]
    seed: int


FAULT = st.sampled_from(["before", "after", "full", "short"])
OPERATIONS = 9
"""Rough number of operations of an append and its share of merging."""


@st.composite
def epochs_of(draw: st.DrawFn) -> list[Epoch]:
    """A few lives, most of which end in a crash."""
    epochs = []
    for _ in range(draw(st.integers(1, 3))):
        appends = draw(st.integers(1, 6))
        position = st.integers(0, OPERATIONS * appends)
        crash_at = draw(st.one_of(position, position, position, st.none()))
        errors = draw(st.dictionaries(position, FAULT, max_size=3))
        epochs.append(Epoch(appends, crash_at, draw(st.booleans()), draw(st.booleans()), errors, draw(st.integers(0, 2**20))))
    return epochs


def live(disk: ModelDisk, epoch: Epoch, begin: int, acknowledged: set[int]) -> int:
    """Live a driver's life, which tries each batch up to three times as a run does; return the number of the next batch."""
    disk.arm(Faults(epoch.errors, epoch.crash_at, epoch.crash_after))
    number = begin
    try:
        with written(disk) as ledger:
            for number in range(begin, begin + epoch.appends):
                for _ in range(3):
                    try:
                        ledger.append(batch(number))
                        acknowledged.add(number)
                        break
                    except StorageError:
                        check(disk, acknowledged, number)
    except (Crash, StorageError):
        pass
    return number + 1


@contextmanager
def written(disk: ModelDisk) -> Iterator[Ledger]:
    """A ledger that is open for writing."""
    ledger = ledger_on(disk)
    with ledger.writer():
        yield ledger


def check(disk: ModelDisk, acknowledged: set[int], last: int) -> set[int]:
    """Check that it is readable and has whole batches, every acknowledged one, no cell twice and no partial file."""
    table = ledger_on(disk).table(columns=["seed", "distance"])
    found: dict[int, set[int]] = {}
    for row in table.to_pylist():
        assert row["distance"] == row["seed"], "a record has changed"
        found.setdefault(row["seed"] // BATCH, set()).add(row["seed"])
    assert table.num_rows == sum(len(seeds) for seeds in found.values()), "a cell is there twice"
    assert all(len(seeds) == BATCH for seeds in found.values()), "half a batch"
    assert acknowledged <= set(found), "what was acknowledged is lost"
    assert set(found) <= set(range(last + 1))
    for path, file in disk.live.items():
        if path.suffix == ".parquet" and file is not None:
            assert whole(file.data)
    return set(found)


@lru_cache(maxsize=4096)
def whole(data: bytes) -> bool:
    """Whether others can read the whole file."""
    return pq.read_table(pa.BufferReader(data)).num_rows > 0


def test_crashes_at_every_operation_of_appends_and_merges_by_kill_and_by_power() -> None:
    """At every operation, before and after it; after a power failure, with two choices of what the disk kept."""
    quiet, crash_at, merged = ModelDisk(), 0, 0
    live(quiet, Epoch(4, None, False, False, {}, 0), 0, set())
    operations = list(quiet.operations)
    assert {"mkdir", "create", "write", "sync", "close", "rename", "sync_folder", "remove"} == set(operations)
    for crash_at in range(len(operations)):
        for after, (power, seed) in product((False, True), ((False, 0), (True, 0), (True, 1))):
            disk, acknowledged = ModelDisk(), set()
            number = live(disk, Epoch(4, crash_at, after, power, {}, seed), 0, acknowledged)
            assert disk.dead
            disk.arm(Faults())
            disk = disk.after_crash(power, random.Random(seed))
            found = check(disk, acknowledged, number)
            assert len(found - acknowledged) <= 1
            merged += any(path.name.count("-") == 3 for path in disk.live)
    assert merged > 20


def killed_while_folders_are_made(seed: int) -> list[Epoch]:
    """Killed between making a folder and fsyncing the one above, then a whole run, then a power failure."""
    return [Epoch(1, 1 + 2 * (seed % 3), False, False, {}, 0), Epoch(1, None, False, True, {}, seed)]


@example(killed_while_folders_are_made(0))
@example(killed_while_folders_are_made(1))
@example(killed_while_folders_are_made(2))
@example(killed_while_folders_are_made(3))
@example(killed_while_folders_are_made(4))
@example(killed_while_folders_are_made(5))
@settings(max_examples=50, deadline=None, derandomize=True)
@given(epochs_of())
def test_whatever_a_disk_forgets_or_refuses_nothing_acknowledged_is_lost_or_partial(epochs):
    disk, number, acknowledged = ModelDisk(), 0, set()
    for epoch in epochs:
        number = live(disk, epoch, number, acknowledged)
        disk.arm(Faults())
        if not disk.dead:
            check(disk, acknowledged, number)
        disk.dead = False
        disk = disk.after_crash(epoch.power, random.Random(epoch.seed))
        check(disk, acknowledged, number)
    number = live(disk, Epoch(3, None, False, False, {}, 0), number, acknowledged)
    check(disk, acknowledged, number)
    assert {number - 3, number - 2, number - 1} <= acknowledged, "after all that the ledger can still be written"


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
import pandas  # pyarrow asks for it: once here, not in every child
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.disk import SystemDisk
from orchestrator.storage.local import LocalStorage
from tests.orchestrator.ledger.test_ledger_faults import TIERS, batch

class Killing(SystemDisk):
    # Dies before the operation `left` comes to; writes a third of what it is asked to write.
    def __init__(self, left):
        self.left = left
    def __getattribute__(self, name):
        if not name.startswith("_") and name not in ("left", "is_folder", "names", "open"):
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
        return super().__getattribute__(name)
    def write(self, descriptor, data):
        return os.write(descriptor, data[: len(data) // 3 + 1])

def life(root, left, numbers):
    if os.fork():
        return os.waitstatus_to_exitcode(os.wait()[1])
    ledger = Ledger(root, LocalStorage(root, Killing(left)), TIERS)
    with ledger.writer():
        for number in numbers:
            ledger.append(batch(number))
            if number:
                print(f"{root.name} acknowledged {number}", flush=True)
    os._exit(0)

first = Path(sys.argv[1]) / "first"
assert life(first, -1, [0]) == 0
for k in range(1000):
    root = first.with_name(f"{k:03d}")
    shutil.copytree(first, root)
    # With three parts the append of 2 merges; the end of the writer merges what is left.
    if life(root, k, [1, 2, 3]) == 0:
        break
print("survived", k, flush=True)
"""


def test_killed_at_every_system_call_of_appends_and_merges_nothing_is_partial_and_the_next_run_goes_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True
    )
    lines = done.stdout.splitlines()
    survived = int(lines[-1].split()[1])
    assert survived > 30, "three appends and their merges are more operations than that"
    acknowledged: dict[str, set[int]] = {}
    for line in lines[:-1]:
        root, _, number = line.split()
        acknowledged.setdefault(root, {0}).add(int(number))
    merged_too = 0
    for k in range(survived):
        root = tmp_path / f"{k:03d}"
        known = acknowledged.get(root.name, {0})
        found = batches(Ledger(root))
        assert known <= found <= known | {max(known) + 1}, "at most the batch that was being written is missing, or there"
        merged_too += any(path.name.count("-") == 3 for path in root.glob("part-*"))
        ledger = Ledger(root, tiers=TIERS)
        with ledger.writer():
            assert not list(root.glob(".part-*")), "leftovers"
            for number in sorted({0, 1, 2, 3} - found):
                ledger.append(batch(number))
        assert batches(Ledger(root)) == {0, 1, 2, 3}
        raw = [seed for path in root.glob("*.parquet") for seed in pq.read_table(path, columns=["seed"])["seed"].to_pylist()]
        assert sorted(raw) == list(range(4 * BATCH)), "other readers see each cell once"
    assert merged_too > 5


def batches(ledger: Ledger) -> set[int]:
    """Numbers of the recorded batches, each of which is whole."""
    seeds = ledger.table(columns=["seed"])["seed"].to_pylist()
    assert len(set(seeds)) == len(seeds) == BATCH * len({seed // BATCH for seed in seeds})
    return {seed // BATCH for seed in seeds}


def test_a_full_disk_can_be_waited_for(tmp_path: Path) -> None:
    """On a real disk: a small file system."""
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(mount)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("only root may mount the small file system that this test fills")
    try:
        ledger, ballast = Ledger(mount / "ledger", tiers=TIERS), mount / "ballast"
        with ledger.writer():
            ledger.append(batch(0))
            with ballast.open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(4096))
            with pytest.raises(StorageFull, match=r"no room is left in .*ledger \(No space left on device\): free some"):
                ledger.append(batch(1))
            assert batches(Ledger(mount / "ledger")) == {0}
            assert not list((mount / "ledger").glob(".part-*"))
            ballast.unlink()
            ledger.append(batch(1))
        assert batches(Ledger(mount / "ledger")) == {0, 1}
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_merging_that_finds_no_room_costs_nothing(tmp_path: Path) -> None:
    disk = ModelDisk()
    with written(disk) as ledger:
        for number in range(3):
            if number == 2:
                # The append itself takes six operations; those after it are merging.
                disk.arm(Faults(dict.fromkeys(range(6, 100), "full")))
            ledger.append(batch(number))
        disk.arm(Faults())
        assert batches(ledger_on(disk)) == {0, 1, 2}
        assert len(disk.names(ROOT / "outputs" / "ledger")) == 3
        for number in range(3, 12):
            ledger.append(batch(number))
        assert len(disk.names(ROOT / "outputs" / "ledger")) < 8
    assert batches(ledger_on(disk)) == set(range(12))
