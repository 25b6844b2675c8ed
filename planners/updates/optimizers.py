"""First-order optimisers: elementwise updates in place, so that rows never influence each other."""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from planners.search.search_run import Rows
from planners.settings import Number, per_row

_FIRST, _SECOND, _EPS = 0.9, 0.999, 1e-8


@runtime_checkable
class Optimizer(Protocol):
    """Update rule of one variable, with its moments."""

    def update(
        self, variable: Float[Tensor, "batch *rest"], gradient: Float[Tensor, "rows *rest"], rows: Rows | None = None
    ) -> None:
        """Take one step in place; `gradient` belongs to all rows, or to `rows`."""
        ...

    def reset(self, rows: Rows | None = None) -> None:
        """Reset the moments of all rows, or of some."""
        ...

    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""
        ...

    def join(self, others: Any) -> None:
        """Append the rows of `others`, an update rule of the same kind."""
        ...


class Adam:
    """Adam (Kingma and Ba 2015) with torch.optim.Adam's defaults; `lr` is a number or a tensor `[batch]`.

    Numbers, whether shared or by row, are computed in float64 and rounded once, in the same order of operations: in float32 a
    row is updated to the same bits whatever other rows the batch holds.
    """

    def __init__(self, like: Float[Tensor, "batch *rest"], lr: Number) -> None:
        self._lr = lr.to(like.device).reshape(-1, *[1] * (like.ndim - 1)) if isinstance(lr, Tensor) else lr
        self._first = like.new_zeros(like.shape)
        self._second = like.new_zeros(like.shape)
        self._steps: int | Tensor = 0
        """A tensor `[batch, ...]` once some rows have been reset apart from the others."""

    def update(
        self, variable: Float[Tensor, "batch *rest"], gradient: Float[Tensor, "rows *rest"], rows: Rows | None = None
    ) -> None:
        """Update in place: variable -= lr * m_hat / (sqrt(v_hat) + 1e-8)."""
        if rows is not None:
            self._update_some(variable, gradient, rows)
            return
        self._steps = self._steps + 1
        self._first.lerp_(gradient, 1 - _FIRST)
        self._second.mul_(_SECOND).addcmul_(gradient, gradient, value=1 - _SECOND)
        _take_step(variable, self._first, self._second, self._lr, self._steps)

    def reset(self, rows: Rows | None = None) -> None:
        """Reset both moments and the step count of all rows, or of some."""
        if rows is None:
            self._first.zero_()
            self._second.zero_()
            self._steps = 0
            return
        device_rows = rows.to(self._first.device)
        for value in (self._first, self._second, self._steps_by_row()):
            value[device_rows] = 0

    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""
        device_rows = rows.to(self._first.device)
        self._first, self._second = self._first[device_rows], self._second[device_rows]
        if isinstance(self._steps, Tensor):
            self._steps = self._steps[device_rows]
        if isinstance(self._lr, Tensor):
            self._lr = self._lr[device_rows]

    def join(self, others: Adam) -> None:
        """Append the rows of `others`."""
        self._steps = torch.cat([self._steps_by_row(), others._steps_by_row()])
        self._first = torch.cat([self._first, others._first])
        self._second = torch.cat([self._second, others._second])
        self._lr = _concat_rates(self._lr, others._lr)

    def _update_some(self, variable: Float[Tensor, "batch *rest"], gradient: Float[Tensor, "rows *rest"], rows: Rows) -> None:
        """Update some rows."""
        device_rows = rows.to(self._first.device)
        first = self._first[device_rows].lerp_(gradient, 1 - _FIRST)
        second = self._second[device_rows].mul_(_SECOND).addcmul_(gradient, gradient, value=1 - _SECOND)
        counts = self._steps_by_row()
        steps = counts[device_rows] + 1
        moved = variable[device_rows]
        _take_step(moved, first, second, self._lr[device_rows] if isinstance(self._lr, Tensor) else self._lr, steps)
        variable[device_rows] = moved
        self._first[device_rows], self._second[device_rows], counts[device_rows] = first, second, steps

    def _steps_by_row(self) -> Tensor:
        """The step counts, kept per row from now on."""
        if not isinstance(self._steps, Tensor):
            shape = self._first.shape[0], *[1] * (self._first.ndim - 1)
            self._steps = self._first.new_full(shape, self._steps, dtype=torch.float64)
        return self._steps


class AdamW:
    """AdamW (Loshchilov and Hutter 2019) with torch.optim.AdamW's betas: Adam, after a decay apart from the gradient."""

    def __init__(self, like: Float[Tensor, "batch *rest"], lr: Number, weight_decay: Number) -> None:
        self._adam = Adam(like, lr)
        self._kept = per_row(1 - lr * weight_decay, like)

    def update(
        self, variable: Float[Tensor, "batch *rest"], gradient: Float[Tensor, "rows *rest"], rows: Rows | None = None
    ) -> None:
        """Update in place: variable *= 1 - lr * weight_decay, then as Adam does."""
        if rows is None:
            variable.mul_(self._kept)
        else:
            device_rows = rows.to(variable.device)
            variable[device_rows] *= self._kept[device_rows] if isinstance(self._kept, Tensor) else self._kept
        self._adam.update(variable, gradient, rows)

    def reset(self, rows: Rows | None = None) -> None:
        """Reset the moments of all rows, or of some."""
        self._adam.reset(rows)

    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""
        self._adam.keep(rows)
        if isinstance(self._kept, Tensor):
            self._kept = self._kept[rows.to(self._kept.device)]

    def join(self, others: AdamW) -> None:
        """Append the rows of `others`."""
        self._adam.join(others._adam)
        self._kept = _concat_rates(self._kept, others._kept)


def _take_step(
    variable: Float[Tensor, "rows *rest"],
    first: Float[Tensor, "rows *rest"],
    second: Float[Tensor, "rows *rest"],
    lr: Number,
    steps: int | Tensor,
) -> None:
    """Apply the step given by both moments after `steps` updates, in place."""
    rate, left = -lr / (1 - _FIRST**steps), 1 - _SECOND**steps
    correction = left.sqrt() if isinstance(left, Tensor) else math.sqrt(left)
    root = second.sqrt().div_(_as(correction, second)).add_(_EPS)
    if isinstance(rate, Tensor):
        variable.add_(first.mul(_as(rate, first)).div_(root))
    else:
        variable.addcdiv_(first, root, value=rate)


def _as(value: Number, like: Tensor) -> Number:
    return value.to(like.dtype) if isinstance(value, Tensor) else value


class GradientDescent:
    """Gradient descent: variable -= lr * gradient."""

    def __init__(self, like: Float[Tensor, "batch *rest"], lr: Number) -> None:
        self._lr = per_row(lr, like)

    def update(
        self, variable: Float[Tensor, "batch *rest"], gradient: Float[Tensor, "rows *rest"], rows: Rows | None = None
    ) -> None:
        """Take one step in place."""
        if rows is None:
            variable.sub_(gradient * self._lr)
            return
        device_rows = rows.to(variable.device)
        variable[device_rows] -= gradient * (self._lr[device_rows] if isinstance(self._lr, Tensor) else self._lr)

    def reset(self, rows: Rows | None = None) -> None:
        """Do nothing: gradient descent has no moments."""

    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""
        if isinstance(self._lr, Tensor):
            self._lr = self._lr[rows.to(self._lr.device)]

    def join(self, others: GradientDescent) -> None:
        """Append the rows of `others`."""
        self._lr = _concat_rates(self._lr, others._lr)


def _concat_rates(rates: Number, others: Number) -> Number:
    """Learning rates of joined rows, which belong to one batch: all of them are by row, or all the same number."""
    if isinstance(rates, Tensor) and isinstance(others, Tensor):
        return torch.cat([rates, others])
    return rates


def make_optimizer(name: str, like: Float[Tensor, "batch *rest"], lr: Number) -> Optimizer:
    """The optimiser called `adam` or `gd`, for a variable shaped like `like`."""
    return Adam(like, lr) if name == "adam" else GradientDescent(like, lr)
