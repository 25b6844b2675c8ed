"""Ctrl-C: the first lets what is in flight arrive, the second stops at once. SIGTERM is a first Ctrl-C with a bound."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType

GRACE = 25.0
"""Seconds that SIGTERM leaves unless told otherwise: Kubernetes and Slurm kill after 30."""


class Interrupts:
    """While entered, signals set `stop`; a second Ctrl-C raises KeyboardInterrupt. In the main thread only.

    A handler runs in the middle of whatever the main thread does, which may hold any lock: it only leaves word to a thread.
    """

    def __init__(self, stop: threading.Event, on_stop: Callable[[str], None], grace: float = GRACE) -> None:
        """`on_stop` is told the signal's name, in a thread of its own; `grace` are seconds from SIGTERM to a hard stop."""
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
                # A shell that starts a job in the background has it ignore Ctrl-C.
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
        """The thread: says the first signal, and ends the process's patience when SIGTERM's grace is over."""
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
