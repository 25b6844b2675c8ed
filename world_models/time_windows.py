"""Windows along time: the states and actions that a model sees at each step of a path.

A path may begin with fewer states than a model can see. Its first windows are shorter then, and grow by one state per step.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """The windows of consecutive steps that see equally many states."""

    first: int
    """The first of the steps, counted from 0."""
    states: Float[Tensor, "batch steps seen *state"]
    actions: Float[Tensor, "batch steps seen action"]

    @property
    def times(self) -> slice:
        """The steps, counted from 0."""
        return slice(self.first, self.first + self.states.shape[1])

    @property
    def seen(self) -> int:
        """Number of states in each window."""
        return self.states.shape[2]


def windows(sequence: Float[Tensor, "batch length *rest"], h: int) -> Float[Tensor, "batch windows h *rest"]:
    """All windows of h consecutive entries along time, `length - h + 1` of them."""
    if h == 1:
        return sequence.unsqueeze(2)
    return sequence.unfold(1, h, 1).movedim(-1, 2)


def windows_along(
    states: Float[Tensor, "batch length *state"], actions: Float[Tensor, "batch length action"], known: int, h: int
) -> list[Windows]:
    """The windows of all steps along a path whose first `known` states are there at the first step, in the order of time.

    Step t sees the last h of its first `known + t` states. All steps that see h states are together.
    """
    steps = states.shape[1] - known + 1
    growing = min(h - known, steps)
    found = [Windows(t, states[:, None, : known + t], actions[:, None, : known + t]) for t in range(growing)]
    if growing < steps:
        found.append(Windows(growing, windows(states, h), windows(actions, h)))
    return found
