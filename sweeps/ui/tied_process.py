"""A server in a process of its own, which ends with this one, however this one ends."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO

_WATCH = 'read group; while read line; do :; done; kill -s KILL -- "-$group"'
"""A shell's program: read the id of a group, and kill it when the other end of the pipe is gone."""


@contextmanager
def tied_process(command: Sequence[str], log: IO[bytes], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the end of the block, with its output in a log; what it has started ends with it.

    All of that dies too if this process is killed (kill -9): another process, in a session of its own, watches a pipe.
    """
    with subprocess.Popen(["sh", "-c", _WATCH], stdin=subprocess.PIPE, stderr=log, start_new_session=True) as watcher:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(environment), start_new_session=True
        )
        try:
            assert watcher.stdin is not None
            watcher.stdin.write(f"{server.pid}\n".encode())
            watcher.stdin.flush()
            yield server
        finally:
            # Its session is one group: what it has started may need longer than it does.
            for how in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(server.pid, how)
                with suppress(subprocess.TimeoutExpired):
                    server.wait(timeout=10)
            watcher.kill()
