"""First-order updates in place, elementwise, so that rows never influence each other."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from planners.settings import per_row


@runtime_checkable
class Optimizer(Protocol):
    """One variable's update rule with its moments."""

    def update(self, variable: Float[Tensor, "batch *rest"], gradient: Float[Tensor, "batch *rest"]) -> None:
        """Take one step in place."""
        ...

    def reset(self) -> None:
        """Forget all moments."""
        ...


class Adam:
    """Adam (Kingma and Ba 2015) with torch.optim.Adam's defaults; `lr` is a number or a tensor `[batch]`."""

    def __init__(self, like: Float[Tensor, "batch *rest"], lr: float | Tensor) -> None:
        self._lr = per_row(lr, like)
        self._first = like.new_zeros(like.shape)
        self._second = like.new_zeros(like.shape)
        self._steps = 0

    def update(self, variable: Float[Tensor, "batch *rest"], gradient: Float[Tensor, "batch *rest"]) -> None:
        """variable -= lr * m_hat / (sqrt(v_hat) + 1e-8)."""
        self._steps += 1
        self._first.lerp_(gradient, 0.1)
        self._second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        correction = 1 - 0.9**self._steps
        root = self._second.sqrt().div_(math.sqrt(1 - 0.999**self._steps)).add_(1e-8)
        if isinstance(self._lr, Tensor):
            variable.sub_(self._first.div(root).mul_(self._lr / correction))
        else:
            variable.addcdiv_(self._first, root, value=-self._lr / correction)

    def reset(self) -> None:
        """Forget both moments and the step count."""
        self._first.zero_()
        self._second.zero_()
        self._steps = 0


class GradientDescent:
    """variable -= lr * gradient."""

    def __init__(self, lr: float | Tensor) -> None:
        self._lr = lr

    def update(self, variable: Float[Tensor, "batch *rest"], gradient: Float[Tensor, "batch *rest"]) -> None:
        """Take one step in place."""
        variable.sub_(gradient * per_row(self._lr, variable))

    def reset(self) -> None:
        """Nothing to forget."""


def make_optimizer(name: str, like: Float[Tensor, "batch *rest"], lr: float | Tensor) -> Optimizer:
    """`adam` or `gd` for a variable shaped like `like`."""
    return Adam(like, lr) if name == "adam" else GradientDescent(lr)
