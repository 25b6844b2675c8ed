"""The wire between hosts that are network namespaces: it carries Ethernet frames between TAP devices, late, or not at all.

A bridge with `tc netem` would do the same, but the kernels of many virtual machines and containers lack netem.

`python -m benchmarks.network.wire NAME...` makes TAP devices of these names, says `ready`, and reads a JSON object per line:
`{"host": NAME, "sends": false, "gets": true, "delay": 0.1, "loss": 0.05}`. It ends, with its devices, when its input ends.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import random
import selectors
import struct
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
"""From linux/if_tun.h."""
_LARGEST = 65536
_MAC = 6
"""Bytes of an address; a frame begins with its receiver's and its sender's."""


@dataclass(frozen=True)
class Link:
    """The connection of one host."""

    host: str
    sends: bool = True
    """Whether the frames that it sends leave it."""
    gets: bool = True
    """Whether the frames for it reach it."""
    delay: float = 0.0
    """Seconds added to each frame, in each direction."""
    loss: float = 0.0
    """Share of the frames that are lost, in each direction."""


class Wire:
    """Carries frames between the devices of some hosts."""

    def __init__(self, devices: dict[str, int], rng: random.Random) -> None:
        """`devices` are open TAP devices by host."""
        self._devices = devices
        self._links = {host: Link(host) for host in devices}
        self._known: dict[bytes, str] = {}
        """Hosts by address."""
        self._late: list[tuple[float, int, str, bytes]] = []
        """Frames to deliver, with the time and a number that keeps their order."""
        self._count = 0
        self._rng = rng

    def set(self, link: Link) -> None:
        """Change a host's link."""
        self._links[link.host] = link

    def accept(self, host: str, frame: bytes, now: float) -> None:
        """Take a frame that a host has sent."""
        receiver, sender = frame[:_MAC], frame[_MAC : 2 * _MAC]
        self._known[sender] = host
        target = self._known.get(receiver)
        for other in [target] if target is not None else [name for name in self._devices if name != host]:
            here, there = self._links[host], self._links[other]
            lost = not here.sends or not there.gets or self._rng.random() < here.loss or self._rng.random() < there.loss
            if not lost:
                self._count += 1
                heapq.heappush(self._late, (now + here.delay + there.delay, self._count, other, frame))

    def deliver(self, now: float) -> float | None:
        """Deliver the frames whose time has come; seconds until the next one, None if none is under way."""
        while self._late and self._late[0][0] <= now:
            _, _, host, frame = heapq.heappop(self._late)
            with suppress(OSError):  # the host's queue is full, or the host is gone: networks lose frames
                os.write(self._devices[host], frame)
        return self._late[0][0] - now if self._late else None


def tap(name: str) -> int:
    """A new TAP device, which exists while it is open."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return device


def main(names: Sequence[str]) -> None:
    """Carry frames until the input ends."""
    devices = {name: tap(name) for name in names}
    wire = Wire(devices, random.Random(0))
    ready = selectors.DefaultSelector()
    for name, device in devices.items():
        ready.register(device, selectors.EVENT_READ, name)
    ready.register(sys.stdin.fileno(), selectors.EVENT_READ, None)
    print("ready", flush=True)
    wait: float | None = None
    while True:
        for key, _ in ready.select(wait):
            if key.data is None:
                words = os.read(key.fd, _LARGEST)
                if not words:
                    return
                for line in words.splitlines():
                    wire.set(Link(**json.loads(line)))
                continue
            # Some frames at a time, so that no host keeps the others waiting.
            with suppress(BlockingIOError):
                for _ in range(64):
                    wire.accept(key.data, os.read(key.fd, _LARGEST), time.monotonic())
        wait = wire.deliver(time.monotonic())


if __name__ == "__main__":
    main(sys.argv[1:])
