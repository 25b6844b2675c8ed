"""A first contact with an object store from a child process.

Azure's client aborts its process where it finds no credentials, and Google's is silent for minutes where it has no network.
"""

from __future__ import annotations

import logging
import subprocess
import sys

from orchestrator.core.surroundings import environment_of_children

PATIENCE = 5.0
"""Seconds after which a word is said about the wait."""
TIMEOUT = 30.0
"""Seconds that a store may take to answer."""

_ASK = """\
import sys, pyarrow.fs
filesystem, path = pyarrow.fs.FileSystem.from_uri(sys.stdin.read())
filesystem.get_file_info(path.split("/")[0])
"""
_log = logging.getLogger(__name__)


def probe(uri: str, where: str) -> None:
    """Ask the store at a URI for its bucket, and call it `where` in messages. Raises OSError with the store's reason."""
    # The URI may hold credentials, and other users see a command line.
    child = subprocess.Popen(
        [sys.executable, "-c", _ASK],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment_of_children(),
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    try:
        _, said = _answer(child, uri, where)
    except subprocess.TimeoutExpired:
        raise OSError(f"REQUEST_TIMEOUT: no answer within {TIMEOUT:g} s") from None
    finally:
        child.kill()
        child.wait()
    if child.returncode:
        raise OSError(_reason(said))


def _answer(child: subprocess.Popen[str], uri: str, where: str) -> tuple[str, str]:
    try:
        return child.communicate(uri, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        _log.warning("waiting for %s, for %g s at most", where, TIMEOUT)
        return child.communicate(timeout=TIMEOUT - PATIENCE)


def _reason(said: str) -> str:
    """The line of a dead process that says why: that of a C++ exception, or the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it ended without a word"]
    thrown = [line.partition("what():")[2].strip() for line in lines if "what():" in line]
    return next(iter(thrown), lines[-1])
