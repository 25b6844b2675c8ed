"""How precise a model's matrix products must be, for the calls made inside a `with` block.

The names are torch's own (`torch.set_float32_matmul_precision`); here they hold for a block of code instead of a process.
Precision is leave to round, never an obligation: a model that has nothing faster computes as precisely as always.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

import torch

from world_models.errors import UnknownNameError

PRECISIONS = ("highest", "high", "medium")
"""`highest`: float32 as it is. `high`: TF32 on CUDA; on AMX cores values to 16 bits and gradients to 8. `medium`: bfloat16."""

_CURRENT: ContextVar[str] = ContextVar("matmul_precision", default="highest")


def current_precision() -> str:
    """The precision asked for around this call; `highest` unless a block says otherwise."""
    return _CURRENT.get()


@contextmanager
def matmul_precision(precision: str, device: torch.device) -> Iterator[None]:
    """Ask for a precision in this block, for models on `device`; UnknownNameError for a name that is not in `PRECISIONS`.

    On CUDA it holds for models of any kind: `high` turns TF32 on, `medium` autocasts to bfloat16. On a CPU it holds for models
    that ask `current_precision()`, as the residual MLP does.
    """
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    token = _CURRENT.set(precision)
    try:
        with ExitStack() as stack:
            if device.type == "cuda" and precision != "highest":
                stack.enter_context(_tf32())
            if device.type == "cuda" and precision == "medium":
                stack.enter_context(torch.autocast("cuda", torch.bfloat16))
            yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def _tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
