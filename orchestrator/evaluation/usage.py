"""A worker's usage of its processor and GPU, sampled between batches."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from orchestrator.core.process import host
from world_models.files.reading import Count, Finite

EVERY = 5.0
"""Least seconds between two samples of a worker."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MEMORY = Path("/proc/self/statm")


@dataclass(frozen=True)
class Usage:
    """One sample of one worker: mean rates since the previous sample, and present sizes."""

    time: Count
    """Unix time in milliseconds."""
    cpu_percent: Finite
    """Percent of one core: 200 means two busy cores."""
    memory_mb: Finite
    """Resident memory, MiB."""
    host: str
    device: str
    gpu_memory_mb: Finite | None = None
    """GPU memory held by this worker, MiB; None without a GPU."""
    gpu_percent: Finite | None = None
    """Percent of the time in which the GPU was busy, for any process; None if NVIDIA's library (pynvml) is not installed."""
    worker: str = ""
    """The backend's name for the worker."""


class UsageMeter:
    """Samples this process and its device, at most every `EVERY` seconds."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def sample(self) -> Usage | None:
        """The usage since the last sample; None if less than `EVERY` seconds have passed."""
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
        """`cpu`, or the GPU by its number on the node, because Ray shows a worker only its own GPUs."""
        if self._device.type != "cuda":
            return "cpu"
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        number = self._device.index or 0
        return f"gpu {visible[number] if number < len(visible) and visible[number] else number}"


def _resident() -> float:
    """Resident memory in MiB; 0 if the kernel does not say."""
    try:
        return round(int(_MEMORY.read_text(encoding="utf-8").split()[1]) * _PAGE / 2**20, 1)
    except OSError:
        return 0.0


def _gpu_percent(device: torch.device) -> float | None:
    try:
        return float(torch.cuda.utilization(device))
    except Exception:  # pynvml is missing or raises classes of its own: no reason to lose a batch
        return None
