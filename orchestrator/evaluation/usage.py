"""What a worker takes of its processor and its GPU, sampled between two batches."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from orchestrator.core.provenance import host

EVERY = 5.0
"""Seconds between two samples of a worker, at least."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MEMORY = Path("/proc/self/statm")


@dataclass(frozen=True)
class Usage:
    """One sample of one worker: means since the one before, sizes now."""

    time: int
    """Unix milliseconds."""
    cpu_percent: float
    """Of one core: 200 is two cores, busy throughout."""
    memory_mb: float
    """Resident, MiB."""
    host: str
    device: str
    gpu_memory_mb: float | None = None
    """Held on its GPU by this worker, MiB; None without a GPU."""
    gpu_percent: float | None = None
    """Share of the time in which the GPU did anything, for whomever; None where NVIDIA's library (pynvml) is not installed."""
    worker: str = ""
    """As the backend calls it."""


class UsageMeter:
    """Samples this process and its device, at most every `EVERY` seconds."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def sample(self) -> Usage | None:
        """What was used since the last sample; None where that was just now."""
        wall, cpu = time.monotonic(), time.process_time()
        if wall - self._wall < EVERY:
            return None
        percent = 100 * (cpu - self._cpu) / (wall - self._wall)
        self._wall, self._cpu = wall, cpu
        held = gpu = None
        if self._device.type == "cuda":
            held = torch.cuda.memory_reserved(self._device) / 2**20
            gpu = _gpu_percent(self._device)
        return Usage(round(1000 * time.time()), round(percent, 1), _resident(), host(), self._name(), held, gpu)

    def _name(self) -> str:
        """`cpu`, or the GPU by the number that its node knows it by: Ray shows a worker only its own."""
        if self._device.type != "cuda":
            return "cpu"
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        number = self._device.index or 0
        return f"gpu {visible[number] if number < len(visible) and visible[number] else number}"


def _resident() -> float:
    """MiB; 0 where the kernel does not say."""
    try:
        return round(int(_MEMORY.read_text().split()[1]) * _PAGE / 2**20, 1)
    except OSError:
        return 0.0


def _gpu_percent(device: torch.device) -> float | None:
    try:
        return float(torch.cuda.utilization(device))
    except Exception:  # pynvml is not installed, or says so in classes of its own: no reason to lose a batch
        return None
