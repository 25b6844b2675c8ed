"""Contexts that begin with fewer frames than a model can see, as every host's evaluation begins.

A host starts from one frame and lets the window grow with the rollout; our models see windows of a fixed length. Frames that
are not there yet are filled with a mark, and cut off again before the host's predictor sees the window.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from world_models.base import Context

ABSENT = 2.0**100
"""Value of all features of a frame that is not there. It is finite, since a window that is not finite is taken for a broken
row, exact in every floating-point type but float16, and no model's output."""


def context_of(frames: Float[Tensor, "batch seen *state"], past: Float[Tensor, "batch before action"], history: int) -> Context:
    """The context of the frames that a host has seen and of the actions between them: the last `history` of them.

    Frames that are missing are absent, and null actions lead from them.
    """
    missing = history - frames.shape[1]
    if missing > 0:
        batch, shape = frames.shape[0], frames.shape[2:]
        frames = torch.cat([frames.new_full((batch, missing, *shape), ABSENT), frames], 1)
        past = torch.cat([past.new_zeros(batch, missing, past.shape[2]), past], 1)
    return Context(frames[:, -history:], past[:, past.shape[1] - history + 1 :])


def step_by_length(
    states: Float[Tensor, "n h *state"],
    actions: Float[Tensor, "n h action"],
    predict: Callable[[Tensor, Tensor], Tensor],
) -> Float[Tensor, "n *state"]:
    """The next states after windows whose first frames may be absent; `predict` sees each window without these.

    Windows of one length go through `predict` in one call.
    """
    absent = (states.flatten(2)[:, :-1, 0] == ABSENT).sum(1)
    lengths = absent.unique().tolist()
    if len(lengths) == 1:
        return predict(states[:, lengths[0] :], actions[:, lengths[0] :])
    rows = [torch.nonzero(absent == count).flatten() for count in lengths]
    parts = [predict(states[part, count:], actions[part, count:]) for part, count in zip(rows, lengths, strict=True)]
    return torch.cat(parts)[torch.cat(rows).argsort()]
