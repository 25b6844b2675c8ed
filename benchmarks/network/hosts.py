"""Hosts on one machine: network namespaces (`ip netns`) that reach each other, and this process, over a wire that is cut."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.network.wire import Link
from benchmarks.rehearsed import ROOT
from world_models.errors import UserError

_PREFIX = "grasp"
"""Begins the name of each namespace, with the id of the process that made it."""
_CLONE_NEWNET = 0x40000000
"""From linux/sched.h."""
_MTU = "9000"
"""Large frames, because each costs the wire's process time."""


def lacking() -> str | None:
    """The reason why this machine cannot have such hosts; None if it can."""
    if os.geteuid() != 0:
        return "network namespaces take root"
    if shutil.which("ip") is None:
        return "there is no `ip`: apt-get install iproute2"
    if not Path("/dev/net/tun").exists():
        return "this kernel has no TAP devices (/dev/net/tun)"
    _forget_dead()
    tried = subprocess.run(["ip", "netns", "add", f"{_PREFIX}-{os.getpid()}-probe"], capture_output=True, check=False)
    if tried.returncode:
        return f"`ip netns add` failed ({tried.stderr.decode(errors='replace').strip()})"
    _ip("netns", "delete", f"{_PREFIX}-{os.getpid()}-probe")
    return None


class Network:
    """Some hosts with names of their own; a context manager that removes what it made.

    This process is on the same network. UserError where a command of the system refuses.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = list(hosts)
        self._wire: subprocess.Popen[str] | None = None
        self._devices = {host: f"gr{os.getpid()}.{number}" for number, host in enumerate(["", *hosts])}
        # From 198.18.0.0/15, which is set apart for tests of networks: no real host has such an address.
        self._network = f"198.18.{os.getpid() % 256}"

    def address(self, host: str) -> str:
        """The IP address of a host."""
        return f"{self._network}.{self._hosts.index(host) + 1}"

    def on(self, host: str, command: Sequence[str]) -> list[str]:
        """The command that runs another one on a host."""
        return ["ip", "netns", "exec", self._namespace(host), *command]

    def link(self, host: str, **changes: float | bool) -> None:
        """Make a host's link as `Link` says, e.g. `sends=False, gets=False`; without changes it is whole again."""
        assert self._wire is not None
        assert self._wire.stdin is not None
        link = Link(self._devices[host], **changes)  # pyright: ignore[reportArgumentType]
        self._wire.stdin.write(json.dumps(asdict(link)) + "\n")
        self._wire.stdin.flush()

    def kill(self, host: str) -> None:
        """Kill all processes on a host, as when its machine loses power."""
        found = subprocess.run(["ip", "netns", "pids", self._namespace(host)], capture_output=True, check=True).stdout
        for process in found.split():
            with suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)

    @contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """Let this thread, and what it starts, be on a host while the block runs."""
        with (
            Path("/proc/thread-self/ns/net").open("rb") as before,
            Path("/run/netns", self._namespace(host)).open("rb") as there,
        ):
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.network.wire", *self._devices.values()]
        self._wire = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._wire.stdout is not None
        if self._wire.stdout.readline().strip() != "ready":
            raise UserError("the wire between the hosts did not start: see the error above.")
        try:
            self._join("", f"{self._network}.254")
            for host in self._hosts:
                _ip("netns", "add", self._namespace(host))
                _ip("link", "set", self._devices[host], "netns", self._namespace(host))
                _ip("-n", self._namespace(host), "link", "set", "lo", "up")
                self._join(host, self.address(host))
        except UserError:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def _join(self, host: str, address: str) -> None:
        """Give a host's device its address; "" is this process's own host."""
        where, device = (["-n", self._namespace(host)] if host else []), self._devices[host]
        _ip(*where, "address", "add", f"{address}/24", "dev", device)
        _ip(*where, "link", "set", device, "mtu", _MTU, "up")

    def _end(self) -> None:
        if self._wire is not None:
            self._wire.kill()
            self._wire.communicate()
        for host in self._hosts:
            with suppress(UserError):
                _ip("netns", "delete", self._namespace(host))

    def _namespace(self, host: str) -> str:
        return f"{_PREFIX}-{os.getpid()}-{host}"


def _forget_dead() -> None:
    """Delete the namespaces of processes that are gone."""
    for file in Path("/run/netns").glob(f"{_PREFIX}-*"):
        owner = re.match(rf"{_PREFIX}-(\d+)-", file.name)
        if owner is not None and not Path("/proc", owner[1]).exists():
            with suppress(UserError):
                _ip("netns", "delete", file.name)


def _enter(namespace: int) -> None:
    """Python 3.12 has this as os.setns."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns failed")


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"`ip {' '.join(words)}` failed: {done.stderr.decode(errors='replace').strip()}")
