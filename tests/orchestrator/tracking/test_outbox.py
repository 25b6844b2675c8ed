"""The outbox: whatever dies when, records come out whole and in order, each is tracked, and no added record is lost."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.portion import Portion
from orchestrator.core.process import ProcessIdentity, host
from orchestrator.ledger.ledger import Ledger
from orchestrator.testing import plane_point, quick_result
from orchestrator.tracking.content.overview import Overview
from orchestrator.tracking.content.points import PointContent
from orchestrator.tracking.content.sweep_info import CellSet, SweepInfo
from orchestrator.tracking.failures import UnavailableError
from orchestrator.tracking.outbox import Outbox, PointsRecord, Record, SweepRecord
from orchestrator.tracking.relay import OutboxRelay
from orchestrator.tracking.tracker import Tracker
from world_models.files.writing import WriteError

POINTS = [plane_point(horizon) for horizon in range(2, 8)]
PORTIONS = [Portion.of(point, range(2)) for point in POINTS]
NAMES = [point.point_id for point in POINTS]


def began(sweep: str, ended: bool = False, pid: int | None = None) -> SweepRecord:
    info = SweepInfo(sweep, "config: 1\n", "grasp sweep", "words")
    here = ProcessIdentity.here()
    return SweepRecord(info, CellSet.of(PORTIONS), ended, (), here if pid is None else replace(here, pid=pid))


def points_record(sweep: str, *points: int) -> PointsRecord:
    return PointsRecord(sweep, CellSet.of([PORTIONS[point] for point in points]))


def plain(record: Record | None) -> object:
    assert record is not None
    return {**vars(record), "cells": record.cells.saved()}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    found = Ledger(tmp_path_factory.mktemp("ledger"))
    with found.writer():
        for point in POINTS:
            found.append(quick_result(point, (0, 1)).results)
    return found


class Store:
    """The tracked records and a fault: the call that fails, before or after doing its work."""

    def __init__(self) -> None:
        self.logged: list[tuple[str, str]] = []
        self.pages: list[tuple[str, bool]] = []
        self.fails: str | None = None

    def do(self, work) -> None:
        fails, self.fails = self.fails, None
        if fails == "before":
            raise UnavailableError("away")
        work()
        if fails == "after":
            raise UnavailableError("the answer was lost")


class FakeTracker(Tracker):
    def __init__(self, store: Store) -> None:
        self.store = store

    def begin(self, info: SweepInfo) -> None:
        self.store.do(lambda: None)

    def log_points(self, sweep: str, points: Iterable[PointContent]) -> list[str]:
        new = [(sweep, point.point_id) for point in points]
        self.store.do(lambda: self.store.logged.extend(pair for pair in new if pair not in self.store.logged))
        return []

    def log_pictures(self, sweep: str, seeds: Mapping[str, object], artifacts: Path | str) -> list[str]:
        return []

    def stale(self, sweep: str, overview: Overview) -> list[str]:
        return [name for name in NAMES if name in overview.digests and (sweep, name) not in self.store.logged]

    def end(self, info: SweepInfo, overview: Overview, table: object, figures: object, complete: bool, points: str) -> None:
        self.store.do(lambda: self.store.pages.append((info.name, complete)))


def relay(root: Path, store: Store, ledger: Ledger) -> OutboxRelay:
    return OutboxRelay(Outbox(root), FakeTracker(store), ledger, root)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("points"), st.sampled_from("AB"), st.integers(0, len(POINTS) - 1)),
        st.tuples(st.sampled_from(["began", "ended"]), st.sampled_from("AB"), st.just(0)),
        st.tuples(st.just("work"), st.sampled_from(["", "before", "after"]), st.integers(1, 3)),
        st.tuples(st.sampled_from(["crash", "crash while adding"]), st.just(""), st.integers(0, 3)),
    ),
    max_size=25,
)


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A folder in memory where possible, since hundreds of fsyncs on a busy disk take a minute."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


@settings(max_examples=100, deadline=None)
@given(steps=steps)
def test_any_order_of_adding_working_and_crashing_keeps_order_and_loses_nothing(steps, ledger, memory):
    root = memory / uuid.uuid4().hex
    store, added, ends = Store(), [], []
    working = relay(root, store, ledger)
    for kind, word, number in steps:
        if kind == "points":
            working.outbox.add(points_record(word, number))
            added.append((word, NAMES[number]))
        elif kind in ("began", "ended"):
            working.outbox.add(began(word, kind == "ended"))
            if kind == "ended":
                ends.append(word)
                added += [(word, name) for name in NAMES]
        elif kind == "work":
            store.fails = word or None
            for _ in range(number):
                try:
                    working.deliver_next(lambda record: False)
                except UnavailableError:
                    continue
        else:
            if kind == "crash while adding":
                crash_in_add(working.outbox, number)
            working = relay(root, store, ledger)
    store.fails = None
    while working.deliver_next(lambda record: False):
        pass
    wanted = list(dict.fromkeys(added))
    assert store.logged == wanted
    # A page is written again if the answer was lost or a crash came before its record was removed.
    assert list(dict.fromkeys(name for name, _ in store.pages)) == list(dict.fromkeys(ends))
    left = [working.outbox.read(name) for name in working.outbox.names()]
    assert all(isinstance(record, SweepRecord) and not record.ended for record in left)
    assert not any(isinstance(r, SweepRecord) and r.sweep in ends and r.ended for r in left)


class Crash(BaseException):
    """The process is killed: no code after it runs."""


def crash_in_add(outbox: Outbox, at: int) -> None:
    """Add a record and die before its `at`-th call of open, fsync, rename, open and fsync."""
    calls = iter(range(100))
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((os, "fsync"), (Path, "replace"), (os, "open")):
            original = getattr(owner, name)

            def dying(*arguments, original=original):
                if next(calls) == at:
                    raise Crash
                return original(*arguments)

            patch.setattr(owner, name, dying)
        with pytest.raises(Crash):
            outbox.add(began("C"))


@pytest.mark.parametrize("at", range(5))
def test_a_record_whose_writer_died_is_there_whole_or_not_at_all(tmp_path, at):
    outbox = Outbox(tmp_path)
    outbox.add(points_record("A", 1))
    crash_in_add(outbox, at)
    left = Outbox(tmp_path)
    records = [plain(left.read(name)) for name in left.names()]
    assert records[0] == plain(points_record("A", 1))
    assert records[1:] == ([plain(began("C"))] if at >= 3 else [])
    left.add(points_record("A", 2))
    assert plain(left.read(left.names()[-1])) == plain(points_record("A", 2))


WRITER = """
import sys
from pathlib import Path
from tests.orchestrator.tracking.test_outbox import Outbox, points_record
box = Outbox(Path(sys.argv[1]))
for number in range(10_000):
    print(box.add(points_record(f"S{number}", number % 6)), flush=True)
"""


def test_kill_9_of_a_writer_loses_nothing_that_it_had_added(tmp_path):
    root, rng = Path(__file__).parents[3], np.random.default_rng(0)
    acknowledged: list[str] = []
    for _ in range(2):
        words = [sys.executable, "-c", WRITER, str(tmp_path)]
        writer = subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(int(rng.integers(5, 60))):
            acknowledged.append(writer.stdout.readline().strip())
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += writer.stdout.read().split("\n")[:-1]
        writer.wait()
    outbox = Outbox(tmp_path)
    names = outbox.names()
    assert set(acknowledged) <= set(names)
    assert [name for name in names if name in set(acknowledged)] == acknowledged, "in the order in which they were added"
    assert all(outbox.read(name) is not None for name in names)
    (tmp_path / f".{host()}-{writer.pid}-00000000.tmp").write_bytes(b'{"half')
    with outbox.exclusive() as mine:
        assert mine
        assert not list(tmp_path.glob(".*.tmp")), "what the dead left half-written is swept away"


WORKER = """
import sys, time
from pathlib import Path
from orchestrator.tracking.outbox import Outbox
with Outbox(Path(sys.argv[1])).exclusive() as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


def test_two_never_deliver_it_at_once_and_the_dead_let_go(tmp_path):
    words = [sys.executable, "-c", WORKER, str(tmp_path)]
    other = subprocess.Popen(words, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"
    outbox = Outbox(tmp_path)
    with outbox.exclusive() as mine:
        assert not mine
    assert str(other.pid) in outbox.lock_holder()
    other.kill()
    other.wait()
    with outbox.exclusive() as mine:
        assert mine


def test_a_full_disk_refuses_a_record_whole_and_takes_the_next(tmp_path):
    outbox = Outbox(tmp_path)
    outbox.add(points_record("A", 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))  # the kernel refuses every file above 20 bytes
    try:
        with pytest.raises(WriteError) as raised:
            outbox.add(points_record("A", 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == errno.EFBIG
    assert [file.name for file in tmp_path.iterdir()] == outbox.names()
    outbox.add(points_record("A", 2))
    assert [plain(outbox.read(name)) for name in outbox.names()] == [
        plain(points_record("A", 0)),
        plain(points_record("A", 2)),
    ]


def test_spoilt_records_are_set_aside_and_block_nothing(tmp_path, ledger):
    outbox, store = Outbox(tmp_path), Store()
    outbox.add(points_record("A", 0))
    for number, text in enumerate(["", "{", "[]", '{"kind": "other"}', '{"kind": "points"}', "null"]):
        (tmp_path / f"{number + 1:010d}-0000000{number}.json").write_text(text, encoding="utf-8")
    outbox.add(points_record("A", 1))
    working = relay(tmp_path, store, ledger)
    while working.deliver_next(lambda record: False):
        pass
    assert store.logged == [("A", NAMES[0]), ("A", NAMES[1])]
    assert outbox.names() == []


def test_a_sweep_whose_driver_died_is_written_as_it_is_and_released(tmp_path, ledger):
    outbox, store = Outbox(tmp_path), Store()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    outbox.add(began("dead", pid=dead.pid))
    outbox.add(began("alive"))
    outbox.add(points_record("dead", 0))
    assert outbox.waiting() == 2
    working = relay(tmp_path, store, ledger)
    while working.deliver_next(lambda record: record.orphaned):
        pass
    assert store.logged == [("dead", name) for name in NAMES]
    assert store.pages == [("dead", True)]
    (left,) = outbox.names()
    assert isinstance(record := outbox.read(left), SweepRecord)
    assert record.sweep == "alive"
    assert not record.orphaned


def test_records_are_small_and_round_trip(tmp_path):
    portions = [Portion.of(point, range(10_000)) for point in POINTS]
    portions.append(Portion.of(plane_point(9), [5, -3, 7, 8, 100, 2**40]))
    record = PointsRecord("a sweep", CellSet.of(portions))
    outbox = Outbox(tmp_path)
    name = outbox.add(record)
    assert (tmp_path / name).stat().st_size < 700
    read = outbox.read(name)
    assert isinstance(read, PointsRecord)
    assert len(read.cells) == 60_006
    assert plain(read) == plain(record)
    assert sorted(read.cells.groups[1].seeds.tolist()) == [-3, 5, 7, 8, 100, 2**40]


def test_adding_is_quick_enough_for_a_driver(tmp_path):
    outbox = Outbox(tmp_path)
    started = time.perf_counter()
    for _ in range(50):
        outbox.add(points_record("A", 0))
    assert time.perf_counter() - started < 5
