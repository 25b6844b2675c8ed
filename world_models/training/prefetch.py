"""Prefetching of training batches by a thread, in the order of their step numbers."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class Prefetch(Generic[Batch]):
    """Iterator over `make(step)` for steps `first..last - 1`, which makes up to `depth` batches ahead.

    A batch depends only on its step number, so a resumed run gets the batches that the first one would have got. An error in
    `make` is raised on waiting for the batch. Use it in a `with` statement: leaving it ends the thread.
    """

    def __init__(self, make: Callable[[int], Batch], first: int, last: int, depth: int = 4) -> None:
        self._make, self._steps = make, range(first, last)
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self.waited = 0.0
        """Seconds that the reader has waited for batches, except for the first one, which can't be ready in time."""

    def __enter__(self) -> Prefetch[Batch]:
        """Start making batches."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """End the thread."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._ready.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)

    def __iter__(self) -> Iterator[Batch]:
        """The batches in order."""
        for step in self._steps:
            began = time.monotonic()
            batch = self._ready.get()
            if step > self._steps.start:
                self.waited += time.monotonic() - began
            if isinstance(batch, BaseException):
                raise batch
            yield batch

    def _work(self) -> None:
        for step in self._steps:
            try:
                batch: Batch | BaseException = self._make(step)
            except Exception as error:
                batch = error
            self._ready.put(batch)
            if self._stop.is_set() or isinstance(batch, BaseException):
                return
