"""Jobs of training side by side: in processes of this machine, or one after another.

A job is a value, and work a function of a module; what a notebook's cell defines is sent by value.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from typing import Any, Protocol, runtime_checkable

import cloudpickle

from world_models.errors import UserError
from world_models.training.loop import Progress

Work = Callable[[Any, Progress], Any]
"""A function of a job and a progress callback."""
Report = Callable[[int, str, int, int, float], None]
"""Callback with (number of the job, stage, steps done, total steps, loss)."""

LOOK = 0.5
"""Seconds between two looks at whether processes still live."""


@runtime_checkable
class Pool(Protocol):
    """Runs jobs; the results are the same whatever runs beside them."""

    def run(self, work: Work, jobs: Sequence[Any], report: Report | None = None) -> list[Any]:
        """The results in the order of the jobs. Raises what the first failing job raises."""
        ...


class Series:
    """One job after another in this process."""

    def run(self, work: Work, jobs: Sequence[Any], report: Report | None = None) -> list[Any]:
        """The results in the order of the jobs."""
        return [work(job, _of_job(number, report)) for number, job in enumerate(jobs)]


class Processes:
    """Several jobs at a time, each in a new process of this machine, which ends with this one."""

    def __init__(self, count: int) -> None:
        """`count` is the largest number of processes at a time."""
        self.count = count

    def run(self, work: Work, jobs: Sequence[Any], report: Report | None = None) -> list[Any]:
        """The results in the order of the jobs. Raises UserError for a job that cannot be sent, and for a process that dies."""
        contents = [sent((work, job), "a job of training") for job in jobs]
        context = multiprocessing.get_context("spawn")
        messages: Any = context.Queue()
        results: dict[int, Any] = {}
        living: dict[int, Any] = {}
        waiting = list(range(len(jobs)))
        try:
            while len(results) < len(jobs):
                while waiting and len(living) < self.count:
                    number = waiting.pop(0)
                    living[number] = context.Process(target=_child, args=(contents[number], messages, number))
                    living[number].start()
                self._listen(messages, living, results, report)
        finally:
            for process in living.values():
                process.terminate()
                process.join()
        return [results[number] for number in range(len(jobs))]

    def _listen(self, messages: Any, living: dict[int, Any], results: dict[int, Any], report: Report | None) -> None:
        """Take one message, or find out who has died without one."""
        try:
            number, kind, content = messages.get(timeout=LOOK)
        except queue.Empty:
            for process in living.values():
                if process.exitcode is not None and messages.empty():
                    raise UserError(_died(process.exitcode)) from None
            return
        if kind == "progress":
            if report is not None:
                report(number, *content)
            return
        living.pop(number).join()
        if kind == "raised":
            raise cloudpickle.loads(content)
        results[number] = cloudpickle.loads(content)


def sent(value: object, what: str) -> bytes:
    """A value for another process, in which classes of a notebook's cells are included; `what` names it.

    Raises UserError for one that cannot be sent.
    """
    try:
        return cloudpickle.dumps(value)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise UserError(
            f"{what} cannot be sent to another process ({reason}): put its class into a file, FILE.py, and import it from "
            "there, or name it by task.target=./FILE.py:NAME."
        ) from error


def received(content: bytes) -> Any:
    """The value that was `sent`."""
    return cloudpickle.loads(content)


def _child(content: bytes, messages: Any, number: int) -> None:
    """Do one job and send its result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work, job = cloudpickle.loads(content)
        result = work(job, lambda *said: messages.put((number, "progress", said)))
        messages.put((number, "done", cloudpickle.dumps(result)))
    except Exception as error:
        messages.put((number, "raised", _sendable(error)))


def _sendable(error: Exception) -> bytes:
    try:
        content = cloudpickle.dumps(error)
        cloudpickle.loads(content)
        return content
    except Exception:
        plain = UserError(str(error)) if isinstance(error, UserError) else RuntimeError(f"{type(error).__name__}: {error}")
        return cloudpickle.dumps(plain)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _died(code: int) -> str:
    how = f"was ended by signal {-code}, perhaps for lack of memory" if code < 0 else f"ended with exit code {code}"
    return (
        f"a process of training {how}: run the same command again, which resumes, with fewer of them if memory is short "
        "(threads=). A script that trains needs `if __name__ == '__main__':` before it does."
    )


def _of_job(number: int, report: Report | None) -> Progress:
    def progress(stage: str, done: int, total: int, loss: float) -> None:
        if report is not None:
            report(number, stage, done, total, loss)

    return progress
