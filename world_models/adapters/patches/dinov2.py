"""DINOv2 vision transformers (Oquab et al., arXiv 2304.07193) that load the state dicts published for facebookresearch/dinov2.

Parameter names and the treatment of positions follow that repository, so that `dinov2_vits14_pretrain.pth` loads unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from world_models.adapters.pickles.unpickle import read_tensors
from world_models.errors import UserError, require
from world_models.models.rows import Linear

HEAD_DIM = 64
"""Width of an attention head in every published DINOv2."""

NAMES: Mapping[int, str] = {384: "dinov2_vits14", 768: "dinov2_vitb14", 1024: "dinov2_vitl14"}
"""Published models by width; the giant one has another kind of MLP and is not supported."""

POSITION_OFFSET = 0.1
"""Offset added to the number of patches for interpolating positions, with which the published models were evaluated."""

PUBLISHED = "dinov2_vits14_pretrain.pth of facebookresearch/dinov2"
"""The weights file, as named in messages to users."""

PREFIX = "encoder."
"""Prefix of the encoder's tensors in our checkpoints."""


@dataclass(frozen=True)
class DinoConfig:
    """Sizes of a DINOv2 encoder."""

    width: int = 384
    depth: int = 12
    heads: int = 6
    hidden: int = 1536
    patch: int = 14
    """Side of a patch, px."""
    grid: int = 37
    """Side of the grid of trained positions."""
    registers: int = 0
    """Number of extra tokens, in the variants with registers."""


class DinoV2(nn.Module):
    """Encoder of images to normalised patch tokens."""

    def __init__(self, config: DinoConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.grid**2 + 1, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, width)) if config.registers else None
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, config.patch, config.patch)})
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, pictures: Float[Tensor, "n 3 side side"]) -> Float[Tensor, "n patches width"]:
        """Patch tokens of normalised images after the last norm, row by row; sides must be multiples of the patch."""
        patches = self.patch_embed["proj"](pictures)
        side = patches.shape[-1]
        tokens = patches.flatten(2).transpose(1, 2) + self._positions(side)
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        extra = [] if self.register_tokens is None else [self.register_tokens.expand(len(tokens), -1, -1)]
        tokens = torch.cat([first, *extra, tokens], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, 1 + self.config.registers :]

    def _positions(self, side: int) -> Float[Tensor, "1 patches width"]:
        grid, trained = self.config.grid, self.pos_embed[:, 1:]
        if side == grid:
            return trained
        image = trained.float().reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
        if self.config.registers:  # the variants with registers smooth, and interpolate to a size
            image = F.interpolate(image, size=(side, side), mode="bicubic", antialias=True)
        else:
            scale = (side + POSITION_OFFSET) / grid
            image = F.interpolate(image, scale_factor=(scale, scale), mode="bicubic")
        return image.flatten(2).transpose(1, 2).to(trained.dtype)


class _Block(nn.Module):
    """A block of attention and MLP whose outputs are scaled by channel (LayerScale)."""

    def __init__(self, config: DinoConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": Linear(width, 3 * width), "proj": Linear(width, width)})
        self.ls1 = nn.ParameterDict({"gamma": nn.Parameter(torch.ones(width))})
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": Linear(width, config.hidden), "fc2": Linear(config.hidden, width)})
        self.ls2 = nn.ParameterDict({"gamma": nn.Parameter(torch.ones(width))})

    def forward(self, tokens: Float[Tensor, "n t width"]) -> Float[Tensor, "n t width"]:
        parts = self.attn["qkv"](self.norm1(tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.ls1["gamma"] * self.attn["proj"](seen)
        return tokens + self.ls2["gamma"] * self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(tokens))))


def read_dinov2(path: Path) -> tuple[DinoConfig, dict[str, Tensor]]:
    """Sizes and tensors of a DINOv2 weights file (.pth as published, or safetensors); raises UserError for another file."""
    return check_dinov2(read_tensors(path), str(path))


def check_dinov2(tensors: Mapping[str, Tensor], source: str) -> tuple[DinoConfig, dict[str, Tensor]]:
    """Sizes and tensors of a DINOv2 state dict from `source`; raises UserError for other keys or shapes."""
    needed = {"cls_token": 3, "pos_embed": 3, "patch_embed.proj.weight": 4, "blocks.0.mlp.fc1.weight": 2}
    for name, axes in needed.items():
        sound = name in tensors and tensors[name].ndim == axes and all(tensors[name].shape)
        require(sound, f"{source} holds no DINOv2 weights ({name} is missing or of another shape): give {PUBLISHED}.")
    held = tensors.get("register_tokens")
    registers = held.shape[1] if held is not None and held.ndim == 3 else 0
    blocks = {found[1] for name in tensors if (found := re.match(r"blocks\.(\d+)\.", name))}
    width = tensors["cls_token"].shape[-1]
    require(
        width % HEAD_DIM == 0 or width < HEAD_DIM,
        f"{source} has tokens of width {width}, unlike any published DINOv2: give {PUBLISHED}.",
    )
    config = DinoConfig(
        width=width,
        depth=len(blocks),
        heads=max(1, width // HEAD_DIM),
        hidden=tensors["blocks.0.mlp.fc1.weight"].shape[0],
        patch=tensors["patch_embed.proj.weight"].shape[-1],
        grid=round((tensors["pos_embed"].shape[1] - 1) ** 0.5),
        registers=registers,
    )
    wanted = _shapes(config)
    kept = {name: value for name, value in tensors.items() if name in wanted}
    wrong = [name for name, shape in wanted.items() if name not in kept or kept[name].shape != shape]
    if wrong:
        raise UserError(f"{source} holds DINOv2 weights of inconsistent sizes ({wrong[0]} does not fit): copy it again.")
    return config, kept


def _shapes(config: DinoConfig) -> dict[str, torch.Size]:
    sound = config.depth <= 64 and config.registers <= 64 and config.patch <= 64
    require(sound and max(config.width, config.hidden, config.grid) <= 16384, "a DINOv2 of this size is not known.")
    with torch.device("meta"):
        return {name: value.shape for name, value in DinoV2(config).state_dict().items()}
