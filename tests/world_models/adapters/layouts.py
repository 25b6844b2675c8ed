"""Small checkpoints under the names that other projects' own code gives to tensors (`tests/golden/record_checkpoints.py`)."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from tests.world_models.adapters.foreign import LeWMSizes, random_tensors

RECORDED = json.loads((Path(__file__).parents[2] / "golden" / "checkpoint_layouts.json").read_text(encoding="utf-8"))
"""Names and shapes of small models of theirs by kind."""

SMALL_JEPA = LeWMSizes(image=28, depth=2, inner=128, mlp=64, projector=40)
"""Sizes of the recorded LeWM and PLDM, whose four heads have 32 features each."""


def recorded(kind: str, seed: int = 0) -> dict[str, Tensor]:
    """Random weights of a kind under the recorded names, its causal masks as they are."""
    tensors = random_tensors({name: tuple(shape) for name, shape in RECORDED[kind].items()}, seed)
    for name, value in tensors.items():
        if name.endswith(".0.bias") and value.ndim == 4:
            frame = torch.arange(value.shape[-1]) // 4
            tensors[name] = (frame.unsqueeze(1) >= frame).float()[None, None]
    return tensors
