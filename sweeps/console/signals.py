"""Ctrl-C: the first waits for batches in flight, the second stops at once.

SIGTERM, and SIGHUP when the terminal is closed, are a first Ctrl-C with a time limit.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType

INTERRUPTED = 130
"""Exit code after Ctrl-C."""
TERMINATED = 143
"""Exit code after SIGTERM, or when the terminal was closed."""
STOPPED = frozenset((INTERRUPTED, TERMINATED))
"""Exit codes of a command that was stopped and can go on."""

GRACE = 25.0
"""Default seconds between SIGTERM and a hard stop: Kubernetes and Slurm kill after 30."""

_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP ended the process, and what it holds is to be closed as after Ctrl-C."""


class Stop(threading.Event):
    """A request to stop, and the exit code that it leads to."""

    code: int = INTERRUPTED


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP raise Terminated in the main thread of our own process, unless they are ignored (`nohup`)."""
    for kind in _ENDING:
        if signal.getsignal(kind) is not signal.SIG_IGN:
            signal.signal(kind, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    for kind in _ENDING:
        signal.signal(kind, signal.SIG_IGN)  # while everything is closed
    raise Terminated


class Interrupts:
    """A context in which signals set `stop`, a second Ctrl-C raises KeyboardInterrupt and a late SIGTERM Terminated.

    Only in the main thread. A handler interrupts it while it may hold any lock, so it only notifies another thread.
    """

    def __init__(self, stop: Stop, on_stop: Callable[[str], None], grace: float = GRACE) -> None:
        """`on_stop` receives the signal's name in a separate thread; `grace` is the seconds from SIGTERM to a hard stop."""
        self._stop = stop
        self._on_stop = on_stop
        self._grace = grace
        self._before: dict[signal.Signals, object] = {}
        self._heard: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._once = self._late = False
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)

    def __enter__(self) -> Interrupts:
        self._thread.start()
        if threading.current_thread() is threading.main_thread():
            for kind in (signal.SIGINT, *_ENDING):
                # A shell makes the jobs that it starts in the background ignore Ctrl-C.
                if signal.getsignal(kind) is not signal.SIG_IGN:
                    self._before[kind] = signal.signal(kind, self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._heard.put(None)
        self._thread.join()
        for which, handler in self._before.items():
            signal.signal(which, handler)  # pyright: ignore[reportArgumentType]

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._late or (self._once and number == signal.SIGINT):
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated
        self._once = True
        self._heard.put(number)

    def _listen(self) -> None:
        """Report the first signal, and force a hard stop when the seconds after SIGTERM are over; runs in the thread."""
        end: float | None = None
        while True:
            try:
                number = self._heard.get(timeout=None if end is None else max(0.0, end - time.monotonic()))
            except queue.Empty:
                self._late = True
                os.kill(os.getpid(), signal.SIGTERM)
                return
            if number is None:
                return
            if number in _ENDING and end is None:
                end = time.monotonic() + self._grace
            if not self._stop.is_set():
                self._stop.code = INTERRUPTED if number == signal.SIGINT else TERMINATED
                self._stop.set()
                self._on_stop(signal.Signals(number).name)
