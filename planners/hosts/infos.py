"""A host's `info`: tensors, arrays and other values by name, one entry per environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from world_models.errors import require

Info = Mapping[str, Any]
"""Observations, goals and past actions by name; tensors are `[batch, time, ...]`."""


def on_device(info: Info, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """A copy of an info whose tensors are on a device, and those of numbers with a fraction in `dtype`."""
    return {
        key: value.detach().clone().to(device, dtype if value.is_floating_point() else None)
        if isinstance(value, Tensor)
        else value
        for key, value in info.items()
    }


def batch_of(info: Info) -> int:
    """Number of environments; UserError for an info without tensors."""
    lengths = [len(value) for value in info.values() if isinstance(value, Tensor)]
    require(bool(lengths), f"the info has no tensors, only {', '.join(info) or 'nothing'}: give observations and goals.")
    return lengths[0]


def rows_of(info: Info, rows: slice) -> dict[str, Any]:
    """The info of some environments."""
    return {key: value[rows] if isinstance(value, Tensor | np.ndarray | list) else value for key, value in info.items()}


def with_candidates(info: Info, candidates: int = 1) -> dict[str, Any]:
    """The info as a host's costs see it: each entry repeated for every candidate along a second axis."""
    result = {}
    for key, value in info.items():
        if isinstance(value, Tensor):
            result[key] = value.unsqueeze(1).expand(len(value), candidates, *value.shape[1:])
        else:
            result[key] = np.repeat(value[:, None], candidates, 1) if isinstance(value, np.ndarray) else value
    return result


def goal_inputs(info: Info) -> dict[str, Tensor]:
    """The inputs of an encoder of observations for a goal: the goal's picture as `pixels`, and each `goal_x` as `x`.

    Past actions lead to no goal and are left out. Raises UserError for an info without a goal.
    """
    require("goal" in info, f"the info has no 'goal' among {', '.join(info)}: evaluate with goals.")
    tensors = {key: value for key, value in info.items() if isinstance(value, Tensor)}
    result = {key: value for key, value in tensors.items() if not key.startswith(("goal", "action"))}
    result["pixels"] = tensors["goal"]
    named = {key[len("goal_") :]: value for key, value in tensors.items() if key.startswith("goal_")}
    return result | {key: value for key, value in named.items() if key != "action"}


def observation_inputs(info: Info) -> dict[str, Tensor]:
    """The inputs of an encoder of observations for the present: all tensors but actions and goals."""
    return {key: value for key, value in info.items() if isinstance(value, Tensor) and not key.startswith(("goal", "action"))}


def past_actions(info: Info, frames: int, action_dim: int, like: Tensor) -> Tensor:
    """The action blocks between a context's frames, `[batch, frames - 1, action]`; UserError if the host gives others."""
    past = info.get("action_history")
    if past is None:
        past = like.new_zeros(len(like), 0, action_dim)
    wanted = (len(like), frames - 1, action_dim)
    sentence = f"action_history has shape {tuple(past.shape)} beside {frames} frames: give the blocks between them, {wanted}."
    require(tuple(past.shape) == wanted, sentence)
    return past
