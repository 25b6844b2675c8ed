"""The wire of the network cuts: it delays, loses and withholds frames as its links say."""

import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.network import cuts, hosts
from benchmarks.network.wire import Link, Wire

EVERYONE = b"\xff" * 6


def frame(receiver: bytes, sender: bytes, content: bytes = b"hello") -> bytes:
    return receiver + sender + content


class Ends:
    """Three hosts whose devices are pipes."""

    def __init__(self) -> None:
        self.pipes = {name: os.pipe() for name in "abc"}
        for reading, _ in self.pipes.values():
            os.set_blocking(reading, False)
        self.wire = Wire({name: writing for name, (_, writing) in self.pipes.items()}, random.Random(0))

    def arrived(self, host: str) -> bytes:
        try:
            return os.read(self.pipes[host][0], 65536)
        except BlockingIOError:
            return b""


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    for pair in made.pipes.values():
        for end in pair:
            os.close(end)


def test_frames_reach_the_host_that_they_name_and_all_hosts_while_it_is_unknown(ends: Ends) -> None:
    a, b = b"aaaaaa", b"bbbbbb"
    ends.wire.accept("a", asked := frame(EVERYONE, a), 0.0)
    ends.wire.accept("b", answer := frame(a, b), 0.0)
    ends.wire.accept("a", again := frame(b, a), 0.0)
    assert ends.wire.deliver(0.0) is None
    assert (ends.arrived("a"), ends.arrived("b"), ends.arrived("c")) == (answer, asked + again, asked)


def test_frames_are_late_by_both_links_and_keep_their_order(ends: Ends) -> None:
    ends.wire.set(Link("a", delay=0.1))
    ends.wire.set(Link("b", delay=0.2))
    first, second = frame(EVERYONE, b"aaaaaa", b"1"), frame(EVERYONE, b"aaaaaa", b"2")
    ends.wire.accept("a", first, 10.0)
    ends.wire.accept("a", second, 10.0)
    assert ends.wire.deliver(10.2) == pytest.approx(0.1)
    assert (ends.arrived("b"), ends.arrived("c")) == (b"", first + second)
    assert ends.wire.deliver(10.35) is None
    assert ends.arrived("b") == first + second


@pytest.mark.parametrize(("link", "arrives"), [(Link("a", sends=False), "a"), (Link("a", gets=False), "b")])
def test_a_host_can_be_cut_off_in_one_direction(ends: Ends, link: Link, arrives: str) -> None:
    ends.wire.set(link)
    ends.wire.accept("a", frame(EVERYONE, b"aaaaaa"), 0.0)
    ends.wire.accept("b", frame(EVERYONE, b"bbbbbb"), 0.0)
    ends.wire.deliver(0.0)
    assert {host for host in "ab" if ends.arrived(host)} == {arrives}


def test_a_share_of_the_frames_is_lost(ends: Ends) -> None:
    ends.wire.set(Link("b", loss=0.05))
    for _ in range(1000):
        ends.wire.accept("a", frame(EVERYONE, b"aaaaaa", b"")[:12], 0.0)
    ends.wire.deliver(0.0)
    assert len(ends.arrived("c")) // 12 == 1000
    assert 900 < len(ends.arrived("b")) // 12 < 990


def test_without_root_or_iproute2_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert cuts.main() == 0
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda program: None)
    assert cuts.main() == 0
    assert capsys.readouterr().out.splitlines() == [
        "network cuts are left out: network namespaces take root.",
        "network cuts are left out: there is no `ip`: apt-get install iproute2.",
    ]


@pytest.mark.skipif(hosts.lacking() is not None, reason=f"no hosts here: {hosts.lacking()}")
def test_hosts_reach_each_other_and_leave_nothing_behind() -> None:
    listen = (
        "import socket; s = socket.create_server(('0.0.0.0', 4000)); print('up', flush=True); s.accept()[0].sendall(b'hello')"
    )
    with (
        hosts.Network(("one", "two")) as network,
        subprocess.Popen(network.on("two", [sys.executable, "-c", listen]), stdout=subprocess.PIPE, text=True) as host,
    ):
        assert host.stdout is not None
        assert host.stdout.readline() == "up\n"
        network.link("two", sends=False)
        with pytest.raises(TimeoutError):
            socket.create_connection((network.address("two"), 4000), timeout=0.3)
        network.link("two")
        with socket.create_connection((network.address("two"), 4000), timeout=10) as called:
            assert called.recv(5) == b"hello"
    left = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert f"-{os.getpid()}-" not in left
