"""The process of the command line: what it does to its own streams, signals and environment, and nowhere else."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

from orchestrator.core.surroundings import settle
from sweeps.cli.main import main
from sweeps.console.signals import end_on_signals
from sweeps.console.streams import StandardStreams

REFUSED, FAULT = 2, 70
"""Exit codes for surroundings in which nothing works, and for a fault of our own."""


def run_process() -> int:
    """Run the command line of this process and return its exit code; to be called before any heavy import."""
    _take_utf8()
    streams = StandardStreams()
    end_on_signals()
    settle(os.environ)
    _quieten_libraries()
    code = _run()
    return code if streams.finish() or code else REFUSED


def _take_utf8() -> None:
    """Start this process again in UTF-8 mode where the locale has another encoding, in which no file could have any name."""
    if sys.getfilesystemencoding() == "utf-8" or not sys.executable:
        return
    shown = getattr(sys.stdout, "encoding", None) or "ascii"
    settings = {"PYTHONUTF8": "1", "PYTHONIOENCODING": os.environ.get("PYTHONIOENCODING") or f"{shown}:replace"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **settings})


def _run() -> int:
    if trouble := _unusable():
        sys.stderr.write(f"grasp: {trouble}\n")
        return REFUSED
    try:
        return main()
    except Exception:
        traceback.print_exc()
        sys.stderr.write("grasp: this is a fault of grasp's; please report it with the lines above.\n")
        return FAULT


def _unusable() -> str | None:
    """A sentence that says why no command can work here; None if nothing is in the way."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return "the folder in which this command was started has been removed: change to one that exists."
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return "no folder for temporary files can be written to: set TMPDIR to one that can."
    return None


def _quieten_libraries() -> None:
    """Leave out advice for programmers: with `PYTHONWARNINGS=error` a library's warning would end a sweep."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where HOME cannot be written to, it says so on each start
    if sys.warnoptions:
        sys.warnoptions.clear()
        warnings.resetwarnings()
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
    warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a label in Chinese is drawn as boxes
    warnings.filterwarnings("ignore", "lance is not fork-safe")  # Ray forks, and its workers open tables of their own
