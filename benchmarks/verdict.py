"""The frame of a rehearsal: a folder of its own, figures as JSON in the last line, and no process left behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.processes import adopt_orphans, end_descendants
from benchmarks.rehearsal_stage import RehearsalError
from world_models.errors import UserError


def perform(name: str, rehearse: Callable[[Path], Mapping[str, object]]) -> int:
    """Rehearse in a new folder and print the figures; 0 when everything holds. The folder is kept when something does not."""
    adopt_orphans()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Short: the paths of Ray's sockets must not exceed 107 characters.
    folder = Path(tempfile.mkdtemp(prefix=f"grasp-{name}-", dir="/tmp"))
    code = 1
    try:
        print(json.dumps(rehearse(folder)))
        code = 0
    except (RehearsalError, UserError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"{name}: {error}\n")
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{name}: stopped\n")
        code = 130
    finally:
        end_descendants()
        if code:
            for log in sorted(folder.glob("*.log")):
                sys.stderr.write(f"{name}: the end of {log.name}:\n{end_of(log)}\n")
            sys.stderr.write(f"{name}: all processes are ended; their logs are in {folder}\n")
        else:
            shutil.rmtree(folder)
    return code


def end_of(log: Path, lines: int = 6) -> str:
    """The last lines of a log, without empty ones."""
    words = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([f"    {line}" for line in words if line.strip()][-lines:])
