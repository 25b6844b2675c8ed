"""Processors that this process may use: fewer than the machine has, if it shares it."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def cpus_here(control_groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Number of processors that this process may use: by its affinity, its container's quota and its Slurm task's share."""
    limits = [allowed_cpus(), *_quota(control_groups)]
    share = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if share.isdecimal():
        limits.append(int(share))
    return max(1, min(limits))


def allowed_cpus() -> int:
    """Number of processors that this process may be put on."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _quota(control_groups: Path) -> Iterator[int]:
    """Processors that a container may use, by its control group of version 2 or 1; none without a limit."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with suppress(OSError, ValueError):
            text = " ".join((control_groups / file).read_text(encoding="ascii") for file in files)
            quota, period = map(int, text.split())
            if quota > 0 and period > 0:
                yield math.ceil(quota / period)
