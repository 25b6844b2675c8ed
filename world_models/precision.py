"""Precision of a model's matrix products, for the calls made inside a `with` block.

The names are torch's own (`torch.set_float32_matmul_precision`); here they hold for a block of code instead of a process.
A precision permits rounding, it never requires it: a model without a faster path computes in full precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from world_models.errors import UnknownNameError

PRECISIONS = ("highest", "high", "medium")
"""`highest`: torch's float32. `high`: TF32 on CUDA; on a CPU that supports our kernel, values with 16 bits (AMX) or in full and
gradients with 8 bits (AMX, AVX-512 with bfloat16) or in full. `medium`: bfloat16 where the device has it."""


@dataclass(frozen=True)
class Arithmetic:
    """Kernel and precision of a model's matrix products."""

    kernel: str
    """`torch`, or our kernel and the processor's unit that it runs on, such as `c AMX`."""
    precision: str
    """`float32`, `tf32`, `bfloat16`, or `bfloat16x3`: sums of two bfloat16 numbers, about 16 bits."""


@runtime_checkable
class ArithmeticModel(Protocol):
    """A world model that chooses its own kernel."""

    def arithmetic(self) -> Arithmetic:
        """Its kernel and precision at the `current_precision`."""
        ...


_CURRENT: ContextVar[str] = ContextVar("matmul_precision", default="highest")


def current_precision() -> str:
    """The precision set by the innermost block around this call; `highest` outside any block."""
    return _CURRENT.get()


def arithmetic_of(model: object, device: torch.device, dtype: torch.dtype) -> Arithmetic:
    """Kernel and precision of a model on a device at the `current_precision`."""
    return model.arithmetic() if isinstance(model, ArithmeticModel) else torch_arithmetic(device, dtype)


def torch_arithmetic(device: torch.device, dtype: torch.dtype, autocast: bool = True) -> Arithmetic:
    """Precision of torch's products at the `current_precision`; `autocast`: whether autocast may apply."""
    precision = current_precision()
    if device.type != "cuda" or dtype != torch.float32 or precision == "highest":
        return Arithmetic("torch", str(dtype).removeprefix("torch."))
    return Arithmetic("torch", "bfloat16" if precision == "medium" and autocast else "tf32")


@contextmanager
def matmul_precision(precision: str, device: torch.device) -> Iterator[None]:
    """Set the precision in this block, for models on `device`; UnknownNameError for a name that is not in `PRECISIONS`.

    On CUDA it applies to models of any kind, to products and convolutions: `highest` turns TF32 off (which torch allows for
    convolutions by default), `high` turns it on, and `medium` also autocasts to bfloat16. On a CPU it applies to models that
    call `current_precision()`, as the residual MLP does.
    """
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    token = _CURRENT.set(precision)
    try:
        with ExitStack() as stack:
            if device.type == "cuda":
                stack.enter_context(_tf32(precision != "highest"))
                # Set in any case, since this block may be nested in another one.
                stack.enter_context(torch.autocast("cuda", torch.bfloat16, enabled=precision == "medium"))
            yield
    finally:
        _CURRENT.reset(token)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A block without autocast, for values that must not be rounded to bfloat16 or whose dtypes are set explicitly."""
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
