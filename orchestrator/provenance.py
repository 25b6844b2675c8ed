"""Where a result comes from: code revision, library versions, device, threads, host."""

from __future__ import annotations


def git_revision() -> str:
    """Commit of the checkout this package lies in, with `-dirty` where it was changed; "unknown" outside a checkout."""
    raise NotImplementedError


def versions() -> dict[str, str]:
    """Versions of Python and the libraries that results depend on."""
    raise NotImplementedError


def device_name(device: str) -> str:
    """What the hardware calls itself, e.g. "cpu: Intel Xeon" or "cuda: NVIDIA H100"."""
    raise NotImplementedError
