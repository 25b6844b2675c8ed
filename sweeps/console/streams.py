"""Standard output and error that end nothing: what nobody reads is dropped, and a full disk is reported at the end."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from pathlib import Path
from typing import Any, TextIO

_UNREAD = (errno.EPIPE, errno.EIO, errno.ECONNRESET, errno.EBADF, errno.ENXIO)
"""Errors that say that nobody reads: `| head` has ended, or the terminal was closed."""


class _Descriptor(io.FileIO):
    """A descriptor to which every write succeeds."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self.lost: str | None = None
        """Why some output could not be written although somebody waits for it, e.g. a full disk."""

    def write(self, data: Any, /) -> int:
        """Write what can be written; returns the size of all data."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            try:
                written = super().write(rest)
            except OSError as error:
                if error.errno not in _UNREAD:
                    self.lost = error.strerror
                return size
            if written is None:  # another program made the terminal non-blocking
                select.select([], [self.fileno()], [])
            rest = rest[written or 0 :]
        return size


class StandardStreams:
    """The standard streams of a process of our own, replaced by ones that end nothing."""

    def __init__(self) -> None:
        _open_descriptors()
        if sys.stdin is None:
            sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it lives as long as the process
        self._out, sys.stdout = _tolerant(1, sys.stdout)
        self._err, sys.stderr = _tolerant(2, sys.stderr)

    def finish(self) -> bool:
        """Write what is buffered; whether all that somebody waits for was written. If not, standard error says why."""
        sys.stdout.flush()
        if self._out is not None and self._out.lost:
            sys.stderr.write(f"grasp: not all output could be written ({self._out.lost}); files are not affected.\n")
        sys.stderr.flush()
        return self._out is None or self._out.lost is None


def _open_descriptors() -> None:
    """Open those of the descriptors 0 to 2 that are closed, which the next file would take otherwise."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _tolerant(number: int, stream: TextIO | None) -> tuple[_Descriptor | None, TextIO]:
    """A stream like the given one that ends nothing, and its descriptor; the null device if it was closed."""
    if stream is None:
        return None, Path(os.devnull).open("w", encoding="utf-8")
    stream.flush()
    descriptor = _Descriptor(number)
    lines = number == 2 or stream.isatty()
    return descriptor, io.TextIOWrapper(io.BufferedWriter(descriptor), stream.encoding, errors="replace", line_buffering=lines)
