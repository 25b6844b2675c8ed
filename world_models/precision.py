"""How precise a model's matrix products must be, for the calls made inside a `with` block.

The names are torch's own (`torch.set_float32_matmul_precision`); here they hold for a block of code instead of a process.
Precision is leave to round, never an obligation: a model that has nothing faster computes as precisely as always.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar

import torch

from world_models.errors import UnknownNameError

PRECISIONS = ("highest", "high", "medium")
"""`highest`: float32 as it is. `high`: TF32 on CUDA; on a CPU that has our kernel values to 16 bits (AMX) or as they are
(AVX-512), and gradients to 8. `medium`: bfloat16."""

_CURRENT: ContextVar[str] = ContextVar("matmul_precision", default="highest")


def current_precision() -> str:
    """The precision asked for around this call; `highest` unless a block says otherwise."""
    return _CURRENT.get()


@contextmanager
def matmul_precision(precision: str, device: torch.device) -> Iterator[None]:
    """Ask for a precision in this block, for models on `device`; UnknownNameError for a name that is not in `PRECISIONS`.

    On CUDA it holds for models of any kind, products and convolutions: `highest` turns TF32 off (which torch allows
    convolutions unless told otherwise), `high` turns it on, `medium` autocasts to bfloat16 besides. On a CPU it holds for
    models that ask `current_precision()`, as the residual MLP does.
    """
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    token = _CURRENT.set(precision)
    try:
        with ExitStack() as stack:
            if device.type == "cuda":
                stack.enter_context(_tf32(precision != "highest"))
                # Said in any case: this block may lie in another one.
                stack.enter_context(torch.autocast("cuda", torch.bfloat16, enabled=precision == "medium"))
            yield
    finally:
        _CURRENT.reset(token)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A block in which no autocast chooses types: for what must not be rounded to bfloat16, or is typed by hand."""
    kind = device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    convolutions = torch.backends.cudnn.conv  # pyright: ignore[reportAttributeAccessIssue]
    before = torch.get_float32_matmul_precision(), convolutions.fp32_precision
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    convolutions.fp32_precision = "tf32" if allowed else "ieee"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        convolutions.fp32_precision = before[1]
