"""Rows simulated in several processes, which end with this one however it ends."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import IO, Any

import numpy as np
from jaxtyping import Float

from world_models.errors import UserError

MOST_PROCESSES = 256
"""Most processes of one task."""
CODE = "from world_models.tasks.gym.processes import serve; serve()"
HEADER = struct.Struct("<Q")

Simulate = Callable[[Float[np.ndarray, "batch state"], Float[np.ndarray, "batch time action"]], np.ndarray]


class Helpers:
    """Processes that simulate shares of the rows of one task.

    They read their work from a pipe and end when it is closed. They are plain processes without a part in this one's group, so
    that daemonic processes and Ray's workers may have them, and an interrupt from the keyboard is left to this one.
    """

    def __init__(self, task: object, count: int) -> None:
        """Start `count` processes, each with the task; they need some seconds, which the first simulation waits for.

        Raises UserError for a task that cannot be sent to them.
        """
        try:
            packed = pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UserError(
                f"the task cannot go to other processes ({error}): define its functions in a module, or leave `processes` out."
            ) from error
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        self._running = [
            subprocess.Popen(
                [sys.executable, "-c", CODE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
            for _ in range(count)
        ]
        self.end = weakref.finalize(self, _end, self._running)
        """Ends the processes; called when nothing refers to this object any more, too."""
        for process in self._running:
            _send(process.stdin, packed)

    def simulate(
        self, states: Float[np.ndarray, "batch state"], actions: Float[np.ndarray, "batch time action"], here: Simulate
    ) -> Float[np.ndarray, "batch time_plus_one state"]:
        """The rows of all processes; this one simulates its share with `here`. Raises UserError where one fails."""
        first, *rest = np.array_split(np.arange(len(states)), len(self._running) + 1)
        busy = [(process, rows) for process, rows in zip(self._running, rest, strict=True) if len(rows)]
        try:
            for process, rows in busy:
                _send(process.stdin, (states[rows], actions[rows]))
            parts = [here(states[first], actions[first]), *(_answer(process) for process, _ in busy)]
        except BaseException:
            # An answer that nobody waited for would be taken for the next one's.
            self.end()
            raise
        return np.concatenate(parts)


def serve() -> None:
    """Simulate what the starting process sends until it closes the pipe. What environments print goes to stderr."""
    source, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    task: Any = None
    while (work := _receive(source)) is not None:
        try:
            if task is None:
                task = pickle.loads(work)
                continue
            answer: object = task.simulate(*pickle.loads(work))
        except Exception as error:
            answer = f"{type(error).__name__}: {error}" if not isinstance(error, UserError) else str(error)
        _send(answers, answer)


def _answer(process: subprocess.Popen[bytes]) -> np.ndarray:
    received = _receive(process.stdout)
    answer = "it ended" if received is None else pickle.loads(received)
    if isinstance(answer, str):
        raise UserError(
            f"another process cannot simulate the task ({answer}): leave `processes` out, which simulates all rows in this one."
        )
    return answer


def _send(pipe: IO[bytes] | None, value: object) -> None:
    assert pipe is not None
    body = value if isinstance(value, bytes) else pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    try:
        pipe.write(HEADER.pack(len(body)) + body)
        pipe.flush()
    except BrokenPipeError:
        return  # what it says, or that it says nothing, is read as its answer


def _receive(pipe: IO[bytes] | None) -> bytes | None:
    """A message, or None where the other side has ended."""
    assert pipe is not None
    header = pipe.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (size,) = HEADER.unpack(header)
    body = pipe.read(size)
    return body if len(body) == size else None


def _end(running: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in running:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
