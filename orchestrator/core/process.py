"""Which process wrote something, and whether it still lives: a pid alone is given again, after a reboot and in containers."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import uuid
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

import psutil

from world_models.files.names import inside

_FIRST_NAMESPACE = "pid:[4026531836]"
"""The pid namespace of a Linux machine itself; containers have others."""


def host() -> str:
    """This machine's name."""
    return socket.gethostname()


class Life(Enum):
    """Whether a process lives, as far as this one can tell."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"
    """It ran on another machine, in another container, or said too little of itself."""


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, unlike any other one on any machine at any time. Records of earlier versions have only host and pid."""

    host: str
    pid: int
    started: float = 0.0
    """When it was started, in the clock that its machine has for this; 0 if unknown."""
    boot: str = ""
    """The boot of its machine."""
    machine: str = ""
    """A digest of its machine's own id; empty if unknown."""
    namespace: str = ""
    """Its pid namespace."""

    @staticmethod
    def here() -> ProcessIdentity:
        """This process."""
        return ProcessIdentity(host(), os.getpid(), _started(os.getpid()) or 0.0, _boot(), _machine(), _namespace())

    @property
    def life(self) -> Life:
        """Whether the process lives."""
        here = ProcessIdentity.here()
        if self.host != here.host:
            return Life.UNKNOWN
        if not self.started:
            return Life.UNKNOWN if psutil.pid_exists(self.pid) else Life.GONE
        if (self.boot, self.namespace, self.machine) == (here.boot, here.namespace, here.machine):
            return Life.ALIVE if _started(self.pid) == self.started else Life.GONE
        # Containers share names, and those of one image even the machine's id: there, another boot may be another machine.
        rebooted = self.boot != here.boot and bool(self.machine) and self.machine == here.machine
        whole_machine = self.namespace == here.namespace in ("", _FIRST_NAMESPACE)
        return Life.GONE if rebooted and whole_machine else Life.UNKNOWN


def _started(pid: int) -> float | None:
    """When a process was started; None if there is none, or a dead one that nobody has waited for.

    On Linux in ticks since the boot, because the time of day may be corrected in between.
    """
    if sys.platform == "linux":
        try:
            state, *rest = (
                inside(Path("/proc"), str(pid), "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            )
        except (OSError, ValueError):
            return None
        return None if state in "ZX" else float(rest[18])
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


NOBODY = ProcessIdentity("", 0)
"""An unknown process."""


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return str(round(psutil.boot_time()))


@cache
def _machine() -> str:
    for file in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            if text := Path(file).read_text(encoding="utf-8").strip():
                return _digest(text)
        except OSError:
            continue
    return "" if sys.platform == "linux" else _digest(str(uuid.getnode()))


def _digest(text: str) -> str:
    # The id itself must not be spread: programs derive keys from it.
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
