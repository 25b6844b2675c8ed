"""Ctrl-C: the first waits for batches in flight, the second stops at once. SIGTERM is a first Ctrl-C with a time limit."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType

GRACE = 25.0
"""Default seconds between SIGTERM and a hard stop: Kubernetes and Slurm kill after 30."""


class Interrupts:
    """A context in which signals set `stop` and a second Ctrl-C raises KeyboardInterrupt; only in the main thread.

    A handler interrupts the main thread, which may hold any lock, so it only notifies another thread.
    """

    def __init__(self, stop: threading.Event, on_stop: Callable[[str], None], grace: float = GRACE) -> None:
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
            for kind in (signal.SIGINT, signal.SIGTERM):
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
            raise KeyboardInterrupt
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
            if number == signal.SIGTERM and end is None:
                end = time.monotonic() + self._grace
            if not self._stop.is_set():
                self._stop.set()
                self._on_stop(signal.Signals(number).name)


INTERRUPTED = 130
"""Exit code after Ctrl-C."""
