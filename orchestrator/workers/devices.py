"""Devices of workers: the memory that a batch takes, and checks of CPUs and GPUs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from world_models.errors import UserError, require

Answer = TypeVar("Answer")

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class MemoryMeter:
    """Measures the peak memory of calls: allocated memory on CUDA, otherwise resident memory of this process (Linux)."""

    def __init__(self, device: str) -> None:
        self._cuda = torch.device(device).type == "cuda"
        if self._cuda:
            torch.cuda.init()  # else the first peak cannot be reset
        self._device = device
        self._floor = 2**62

    def peak_of(self, block: Callable[[], Answer]) -> tuple[Answer, int | None]:
        """The result of `block`, and its peak memory in bytes above what is held anyway; None if it cannot be measured."""
        if self._cuda:
            before = torch.cuda.memory_allocated(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            return block(), torch.cuda.max_memory_allocated(self._device) - before
        try:
            _CLEAR.write_text("5", encoding="utf-8")  # sets the high-water mark to what is resident now
            # Freed memory stays resident, so the memory held anyway is the least that was ever seen.
            self._floor = min(self._floor, _resident("VmRSS"))
        except OSError:
            return block(), None
        answer = block()
        return answer, max(0, _resident("VmHWM") - self._floor)


def device_memory(device: str, share: float) -> int | None:
    """Bytes of a CUDA device that a worker with `share` of it may use; None for other devices."""
    if torch.device(device).type != "cuda":
        return None
    return int(torch.cuda.mem_get_info(device)[1] * min(1.0, share))


def _resident(field: str) -> int:
    """A memory size of this process from the kernel, in bytes."""
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


_LACKS_MEMORY = ("CUDA error: out of memory", "STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED")
"""Texts of out-of-memory errors of CUDA and its libraries that have no class of their own."""


def check_device(device: str) -> None:
    """Raise UserError unless this process can plan on the device: `cpu`, `cuda` or `cuda:N`."""
    try:
        parsed = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"device {device!r} is unknown: give cpu, cuda or cuda:N.") from error
    require(parsed.type in ("cpu", "cuda"), f"device {device!r} is not supported: give cpu, cuda or cuda:N.")
    if parsed.type == "cpu":
        return
    count = torch.cuda.device_count()
    why = f"there are {count} GPUs" if torch.version.cuda else "this torch is built without CUDA"
    require((parsed.index or 0) < count, f"device {device!r} does not exist ({why}): give one that does, or cpu.")


def keep_to_share(device: str, share: float) -> None:
    """Limit this process to `share` of its GPU's memory: workers on one GPU would take each other's memory.

    Does nothing on a CPU, or for a worker that has its GPU to itself.
    """
    if torch.device(device).type == "cuda" and share < 1:
        torch.cuda.set_per_process_memory_fraction(float(share))


def lacks_memory(error: Exception) -> bool:
    """Whether a GPU error means that memory ran out."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _LACKS_MEMORY)


def is_broken(device: str) -> bool:
    """Whether this process has lost its GPU: after some errors (an index out of range in a kernel, a hardware fault) every
    call fails until the process ends. Always false on a CPU."""
    if torch.device(device).type != "cuda":
        return False
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False
