"""A goal cost of one's own: how far the puck is from its goal, whatever its velocity."""

from torch import Tensor


def position(states: Tensor, goals: Tensor) -> Tensor:  # [n, 4], [n, 4] -> [n]
    return (states[:, :2] - goals[:, :2]).square().sum(1)
