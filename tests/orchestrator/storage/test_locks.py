"""One writer at a time: flocks on disks, leases with a heartbeat in object stores, and no clock that two machines share."""

import errno
import fcntl
import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.leases import Lease, Pace
from orchestrator.storage.locks import FileLock, Holder
from tests.orchestrator.ledger.test_ledger_faults import batch, batches
from world_models.errors import UserError

PACE = Pace(beat=0.05, stale=0.5, settle=0.15)


class Objects:
    """A store in memory; it refuses everything while it is `down`."""

    where = "s3://bucket/ledger"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.down = False

    def write(self, name: str, data: bytes) -> None:
        self._answer()
        self.objects[name] = data

    def read(self, name: str) -> bytes:
        self._answer()
        if name not in self.objects:
            raise FileNotFoundError(name)
        return self.objects[name]

    def _answer(self) -> None:
        if self.down:
            raise UserError("the store does not answer")

    def holder(self) -> Holder:
        return Holder.of_json(self.objects[".lease"].decode())


def killed(lease: Lease) -> None:
    """Simulate the death of the process: the heartbeat ends and nothing is released."""
    lease._ended.set()
    assert lease._beating is not None
    lease._beating.join()


def test_the_holder_of_a_folder_is_known_while_it_writes_and_after(tmp_path: Path) -> None:
    ledger, other = Ledger(tmp_path / "ledger"), Ledger(tmp_path / "ledger")
    assert other.holder() is None
    with ledger.writer():
        holder = other.holder()
        assert holder is not None
        assert holder.alive
        with pytest.raises(UserError, match=f"host {holder.host}, pid {holder.pid}"), other.writer():
            pass
    left = other.holder()
    assert left is not None
    assert (left.alive, left.pid) == (False, holder.pid)


def test_asking_who_holds_a_lock_never_keeps_a_writer_out(tmp_path: Path) -> None:
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            FileLock(tmp_path).holder()

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        for _ in range(200):
            lock = FileLock(tmp_path)
            lock.acquire()
            lock.release()
    finally:
        ended.set()
        asker.join()


def test_a_file_system_that_cannot_lock_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(UserError, match=r"cannot lock files \(No locks available\): mount it with locks"),
        Ledger(tmp_path).writer(),
    ):
        pass


def test_a_writer_that_lost_its_lock_stops_before_it_writes(tmp_path: Path) -> None:
    """This happens where locks hold on one machine only, or when somebody removed the lock file."""
    ledger = Ledger(tmp_path)
    with ledger.writer():
        ledger.append(batch(0))
        (tmp_path / ".lock").write_text(Holder("elsewhere", 7, True, "other").to_json(), encoding="utf-8")
        with pytest.raises(UserError, match=r"another driver has taken over .* .host elsewhere, pid 7.: this one stops"):
            ledger.append(batch(1))
        (tmp_path / ".lock").unlink()
        with pytest.raises(UserError, match="its lock file was removed"):
            ledger.append(batch(1))
    assert batches(Ledger(tmp_path)) == {0}


def test_a_lease_is_held_by_one_and_given_back() -> None:
    store = Objects()
    pace = replace(PACE, stale=20.0)
    first, second = Lease(store, pace), Lease(store, pace)
    assert first.holder() is None
    first.acquire()
    assert second.holder() is not None
    holder = second.holder()
    assert holder is not None
    assert holder.alive
    with pytest.raises(
        UserError, match=rf"another driver writes to s3://bucket/ledger \(host {holder.host}, pid {holder.pid}\)"
    ):
        second.acquire()
    first.check()
    first.release()
    first.release()
    left = second.holder()
    assert left is not None
    assert not left.alive
    began = time.monotonic()
    second.acquire()
    assert time.monotonic() - began < pace.stale / 2, "a lease that was given back is not watched"
    second.release()


def test_one_of_the_drivers_that_start_together_gets_the_lease() -> None:
    store, gate = Objects(), threading.Barrier(4)
    won: list[Lease] = []
    refused: list[Lease] = []

    def start() -> None:
        lease = Lease(store, replace(PACE, settle=1.5))
        gate.wait()
        try:
            lease.acquire()
            won.append(lease)
        except UserError:
            refused.append(lease)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(refused)) == (1, 3)
    won[0].release()


def test_the_lease_of_a_dead_driver_is_taken_over_and_the_dead_one_stops_should_it_wake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def jumping() -> float:
        raise AssertionError("nobody may ask what time it is")

    monkeypatch.setattr(time, "time", jumping)
    store = Objects()
    dead, next_one = Lease(store, PACE), Lease(store, PACE)
    dead.acquire()
    killed(dead)
    holder = next_one.holder()
    assert holder is not None
    assert not holder.alive, "it does not beat"
    next_one.acquire()
    assert store.holder().token == next_one._mine.token
    time.sleep(PACE.stale / 2)
    with pytest.raises(UserError, match=r"taken over .*: this one stops; what it recorded is kept"):
        dead.check()
    dead.release()
    next_one.check()
    assert store.holder().alive, "the dead one has not given away what it had lost"
    next_one.release()


def test_a_store_that_is_unavailable_for_a_while_costs_no_lease() -> None:
    store = Objects()
    lease = Lease(store, PACE)
    lease.acquire()
    beat = store.holder().beat
    store.down = True
    time.sleep(PACE.stale)
    with pytest.raises(UserError, match="does not answer"):
        lease.check()
    store.down = False
    lease.check()
    deadline = time.monotonic() + 10
    while store.holder().beat == beat and time.monotonic() < deadline:
        time.sleep(0.01)
    assert store.holder().beat > beat
    lease.release()
    assert not store.holder().alive


def test_a_store_that_is_unavailable_at_the_end_leaves_a_lease_that_goes_stale() -> None:
    store = Objects()
    lease = Lease(store, PACE)
    lease.acquire()
    store.down = True
    lease.release()
    store.down = False
    assert store.holder().alive
    other = Lease(store, PACE)
    other.acquire()
    other.release()


@pytest.mark.parametrize("text", ["", "host a, pid 3\n", "{}", json.dumps({"host": 1, "pid": "x"}), "[1]"])
def test_a_lock_file_of_another_kind_is_an_unknown_holder(text: str) -> None:
    assert Holder.of_json(text) == Holder("unknown", 0, True)
    mine = Holder.here()
    assert Holder.of_json(mine.to_json()) == mine
