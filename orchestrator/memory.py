"""How much memory a batch takes of its worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

Answer = TypeVar("Answer")

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class MemoryMeter:
    """Measures blocks on a device: allocated memory on CUDA, resident memory of this process elsewhere (Linux)."""

    def __init__(self, device: str) -> None:
        self._cuda = torch.device(device).type == "cuda"
        if self._cuda:
            torch.cuda.init()  # else the first peak cannot be reset
        self._device = device
        self._floor = 2**62

    def peak_of(self, block: Callable[[], Answer]) -> tuple[Answer, int | None]:
        """What `block` returns, and the most bytes that were held at once above what is held anyway; None: not measurable."""
        if self._cuda:
            before = torch.cuda.memory_allocated(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            return block(), torch.cuda.max_memory_allocated(self._device) - before
        try:
            _CLEAR.write_text("5")  # sets the high-water mark to what is resident now
            # Freed memory stays resident: what is held anyway is the least that was ever seen.
            self._floor = min(self._floor, _resident("VmRSS"))
        except OSError:
            return block(), None
        answer = block()
        return answer, max(0, _resident("VmHWM") - self._floor)


def device_memory(device: str, share: float) -> int | None:
    """Bytes of a CUDA device that a worker with `share` of it may use; None elsewhere."""
    if torch.device(device).type != "cuda":
        return None
    return int(torch.cuda.mem_get_info(device)[1] * min(1.0, share))


def _resident(field: str) -> int:
    """A size from the kernel's account of this process, in bytes."""
    lines = _STATUS.read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))
