"""DINOv2 encoders under the names of Hugging Face's transformers, turned into those of facebookresearch/dinov2.

Both are the same network. Queries, keys and values are one matrix here and three there, and positions are interpolated to the
size of the images at import, because transformers does it to a size and the original by a factor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from world_models.adapters.patches.dinov2 import DinoConfig, check_dinov2
from world_models.errors import require

MARKS = ("embeddings.cls_token", "embeddings.patch_embeddings.projection.weight", "encoder.layer.0.layer_scale1.lambda1")
"""Tensors that identify such an encoder."""

_OUTSIDE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
_POSITIONS = "embeddings.position_embeddings"
_INSIDE = {
    "attention.output.dense": "attn.proj",
    "attention.o_proj": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}
"""Names inside a layer that differ, of transformers 4 and 5."""
_PARTS = (
    ("attention.attention.query", "attention.attention.key", "attention.attention.value"),
    ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
)
"""Names of queries, keys and values, of transformers 4 and 5."""


def is_hub_dinov2(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors are those of a DINOv2 encoder of transformers, without registers and gated MLPs."""
    registers = "embeddings.register_tokens" in tensors
    return all(mark in tensors for mark in MARKS) and not registers and "encoder.layer.0.mlp.fc1.weight" in tensors


def from_hub(tensors: Mapping[str, Tensor], side: int, source: str) -> tuple[DinoConfig, dict[str, Tensor]]:
    """Sizes and tensors under the original names, for images of `side` patches.

    Raises UserError for tensors that are missing or do not fit each other.
    """
    renamed = {ours: tensors[theirs] for theirs, ours in _OUTSIDE.items() if theirs in tensors}
    if _POSITIONS in tensors:
        renamed["pos_embed"] = _interpolated(tensors[_POSITIONS], side, source)
    for number in sorted({int(found[1]) for name in tensors if (found := re.match(r"encoder\.layer\.(\d{1,3})\.", name))}):
        start = f"encoder.layer.{number}."
        layer = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
        renamed.update({f"blocks.{number}.{name}": value for name, value in _layer(layer, source).items()})
    return check_dinov2(renamed, source)


def _layer(layer: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    names = next((each for each in _PARTS if f"{each[0]}.weight" in layer), _PARTS[0])
    renamed: dict[str, Tensor] = {}
    for kind in ("weight", "bias"):
        parts = [layer[f"{name}.{kind}"] for name in names if f"{name}.{kind}" in layer]
        require(
            len(parts) == len(names) and len({part.shape for part in parts}) == 1 and parts[0].ndim > 0,
            f"{source} lacks queries, keys or values of a layer: it is truncated or of another variant.",
        )
        renamed[f"attn.qkv.{kind}"] = torch.cat(parts)
    for name, value in layer.items():
        if not name.startswith(names):
            own = next((name.replace(theirs, ours) for theirs, ours in _INSIDE.items() if name.startswith(theirs)), name)
            renamed[own] = value
    return renamed


def _interpolated(positions: Tensor, side: int, source: str) -> Float[Tensor, "1 tokens width"]:
    sound = positions.ndim == 3 and positions.shape[1] > 1 and isqrt(positions.shape[1] - 1) ** 2 == positions.shape[1] - 1
    require(sound, f"{source} has positions of the shape {tuple(positions.shape)}, which form no square: it is damaged.")
    trained = isqrt(positions.shape[1] - 1)
    if trained == side:
        return positions
    grid = positions[:, 1:].float().unflatten(1, (trained, trained)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1].float(), grid.flatten(2).transpose(1, 2)], 1)
