"""All processes that this one has started, directly or not: to kill a node as a whole and leave nothing behind."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h."""


def adopt_orphans() -> None:
    """Become the parent, in place of init, of every descendant whose parent dies, so that `descendants` still finds it."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def descendants(root: int) -> list[int]:
    """Ids of the living processes below `root`, parents before their children."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, ValueError):
                # The name, in brackets, may hold anything; state and parent come right after it.
                state, parent = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
                if state != "Z":
                    children.setdefault(int(parent), []).append(int(folder.name))
    found, front = [], [root]
    while front:
        front = [child for parent in front for child in children.get(parent, ())]
        found += front
    return found


def title(process: int) -> str:
    """Command line of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def kill_tree(root: int) -> None:
    """Kill a process and all below it at once (kill -9), as when their machine loses power."""
    for process in (root, *descendants(root)):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def end_descendants(timeout: float = 10.0) -> None:
    """End all processes that we have started: with SIGTERM, and after `timeout` seconds with SIGKILL."""
    deadline = time.monotonic() + timeout
    _send(descendants(os.getpid()), signal.SIGTERM)
    while left := _living():
        if time.monotonic() > deadline:
            _send(left, signal.SIGKILL)
        time.sleep(0.1)


def _living() -> list[int]:
    # Adopted children must be waited for, or they stay as zombies.
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return descendants(os.getpid())


def _send(processes: Iterable[int], what: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, what)
