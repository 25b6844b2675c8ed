"""Command lines in children of a process that has everything imported, in a folder of their own and with limits."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from sweeps.cli.main import main
from sweeps.diagnose import diagnose
from sweeps.models import train
from sweeps.running import plan, rerun, sweep
from sweeps.tuning import tune
from sweeps.ui import servers

Look = Callable[[int | None, str], list[str]]
"""A second look at a command line in its process: given its exit code (None: accepted) and output, the faults."""

CPU_SECONDS = 30
"""Processor seconds that a command line may take."""
SECONDS = 120
"""Seconds after which a child is ended, whatever it waits for."""
_MEMORY = 16 * 2**30
_FILE = 2**30
_REPORTS = ("out.txt", "err.txt", "notes.json")
"""Files in which a child says how it ended."""


class Planned(BaseException):
    """Raised where a command would begin to plan, train or serve: its line was accepted."""


@dataclass(frozen=True)
class Ended:
    """How a command line ended in a child."""

    code: int | None
    """None where it would have begun to plan."""
    out: str
    err: str
    seconds: float
    """Processor seconds, of a second look too."""
    signal: int = 0
    notes: tuple[str, ...] = ()
    """Faults that a second look in the same child found."""
    strays: tuple[str, ...] = ()
    """Files and folders that it left, relative to its scratch folder."""


@dataclass(frozen=True)
class Room:
    """The folders of a child; `cwd` has links to what all children share."""

    root: Path
    shared: Path

    def make(self) -> None:
        """Make them anew."""
        shutil.rmtree(self.root, ignore_errors=True)
        for name in ("cwd", "home", "tmp"):
            (self.root / name).mkdir(parents=True)
        for each in self.shared.iterdir():
            (self.root / "cwd" / each.name).symlink_to(each)

    def left(self) -> list[str]:
        """The files that lie in them besides the links."""
        own = (path for path in self.root.rglob("*") if not path.is_symlink())
        return sorted({str(path.relative_to(self.root)) for path in own} - {"cwd", "home", "tmp", *_REPORTS})

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a child that differ from ours."""
        tmp = str(self.root / "tmp")
        return {"HOME": str(self.root / "home"), "TMPDIR": tmp, "FUZZ_NUMBER": "3", "FUZZ_LIST": "[1,2]", "COLUMNS": "120"}


def run(words: Sequence[str], room: Room, look: Look) -> Ended:
    """Run a command line in a child; `look` is called there with its exit code and output, and returns faults."""
    room.make()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        _child(words, room, look)
    _, status, used = os.wait4(child, 0)
    notes = room.root / "notes.json"
    said: dict[str, Any] = json.loads(notes.read_text(encoding="utf-8")) if notes.is_file() else {"code": -1, "notes": []}
    out, err = ((room.root / name).read_text(encoding="utf-8", errors="replace") for name in ("out.txt", "err.txt"))
    signal_ = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    spent = used.ru_utime + used.ru_stime
    return Ended(said["code"], out, err, spent, signal_, tuple(said["notes"]), tuple(room.left()))


def run_here(words: Sequence[str], room: Room, look: Look) -> Ended:
    """The same in this process, for tests: without limits, and with this process's folders and streams put back."""
    room.make()
    out, err = io.StringIO(), io.StringIO()
    began = time.process_time()
    with (
        contextlib.chdir(room.root / "cwd"),
        mock.patch.dict(os.environ, room.environment),
        mock.patch.object(tempfile, "tempdir", None),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code, notes = _ended(words, out.getvalue, look)
    spoken = [stream.getvalue().encode("utf-8", "replace").decode() for stream in (out, err)]
    return Ended(code, spoken[0], spoken[1], time.process_time() - began, notes=tuple(notes), strays=tuple(room.left()))


def _ended(words: Sequence[str], printed: Callable[[], str], look: Look) -> tuple[int | None, list[str]]:
    """The exit code of a command line and the faults that the second look finds; a traceback is one."""
    try:
        with _stopped_where_planning_begins():
            try:
                code = main(words)
            except Planned:
                code = None
            return code, look(code, printed())
    except Exception:  # what a fuzzer looks for
        return -1, [traceback.format_exc(limit=-3, chain=False)]


def _child(words: Sequence[str], room: Room, look: Look) -> NoReturn:
    """The child: limits, folders and streams, then the command line."""
    gc.disable()
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE, _FILE))
    signal.alarm(SECONDS)
    os.chdir(room.root / "cwd")
    os.environ.update(room.environment)
    tempfile.tempdir = None
    files = (Path(os.devnull), room.root / "out.txt", room.root / "err.txt")
    for number, file in enumerate(files):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY), number)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, "w" if number else "r", encoding="utf-8", errors="replace") for number in range(3)
    )

    def printed() -> str:
        sys.stdout.flush()
        return files[1].read_text(encoding="utf-8", errors="replace")

    try:
        code, notes = _ended(words, printed, look)
        content = json.dumps({"code": code, "notes": notes}).encode("utf-8", "backslashreplace")
        (room.root / "notes.json").write_bytes(content)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)


@contextlib.contextmanager
def _stopped_where_planning_begins() -> Iterator[None]:
    """Make every command raise `Planned` once its line is accepted."""
    reads = ((plan, "read_plan"), (tune, "read_study"), (diagnose, "read_diagnosis"))
    begins = ((train, "_train"), (rerun, "plan_again"), (servers, "serve"), (sweep, "SecondDriver"))
    with contextlib.ExitStack() as stack:
        for module, name in reads:
            stack.enter_context(mock.patch.object(module, name, _then_stopped(getattr(module, name))))
        for module, name in begins:
            stack.enter_context(mock.patch.object(module, name, _stopped))
        yield


def _then_stopped(read: Callable[..., object]) -> Callable[..., object]:
    def stopped(*given: Any) -> object:
        read(*given)
        raise Planned

    return stopped


def _stopped(*_: Any, **__: Any) -> object:
    raise Planned
