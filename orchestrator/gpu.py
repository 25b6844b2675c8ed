"""Whether a device is there, a worker's share of a GPU, and what a GPU's errors mean."""

from __future__ import annotations

import torch

from world_models.errors import UserError, require

_LACKS_MEMORY = ("CUDA error: out of memory", "STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED")
"""What CUDA and its libraries say without memory, in errors that have no class of their own."""


def check_device(device: str) -> None:
    """UserError unless this process can plan on a device: `cpu`, `cuda` or `cuda:N`."""
    try:
        asked = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"device {device!r} is unknown: give cpu, cuda or cuda:N.") from error
    require(asked.type in ("cpu", "cuda"), f"device {device!r} is none that we plan on: give cpu, cuda or cuda:N.")
    if asked.type == "cpu":
        return
    count = torch.cuda.device_count()
    why = f"there are {count} GPUs" if torch.version.cuda else "this torch is built without CUDA"
    require((asked.index or 0) < count, f"device {device!r} is not here ({why}): give a GPU that is there, or cpu.")


def keep_to_share(device: str, share: float) -> None:
    """Let this process hold no more than `share` of its GPU: workers on one GPU would take each other's memory.

    Nothing to do on a CPU, or for a worker that has its GPUs to itself.
    """
    if torch.device(device).type == "cuda" and share < 1:
        torch.cuda.set_per_process_memory_fraction(float(share))


def lacks_memory(error: Exception) -> bool:
    """Whether an error of a GPU means that there was too little memory."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _LACKS_MEMORY)


def is_broken(device: str) -> bool:
    """Whether this process can do nothing more on its GPU: after some errors (an index out of range in a kernel, a hardware
    fault) every call fails until the process ends. Always false on a CPU."""
    if torch.device(device).type != "cuda":
        return False
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False
