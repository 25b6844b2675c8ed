"""The plain ViT of Hugging Face's transformers, which LeWM trains from scratch: class token, pre-norm, exact GELU.

Layers are named as in transformers 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from world_models.errors import require
from world_models.models.rows import Linear

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation of images in [0, 1], by channel."""
EPS = 1e-12
"""Epsilon of transformers' LayerNorms."""


@dataclass(frozen=True)
class VitSizes:
    """Sizes of a `Vit`. Raises UserError if patches do not tile the image or heads do not divide the width."""

    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    mlp: int

    def __post_init__(self) -> None:
        require(
            self.image_size % self.patch_size == 0 and self.width % self.heads == 0,
            f"a ViT with images of {self.image_size} px, patches of {self.patch_size} px, width {self.width} and "
            f"{self.heads} heads is not valid: patches must tile the image, and heads divide the width.",
        )

    @property
    def patches(self) -> int:
        """Number of patches of an image."""
        return (self.image_size // self.patch_size) ** 2


class Vit(nn.Module):
    """Encoder of images to class tokens."""

    def __init__(self, sizes: VitSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.embeddings = _Embeddings(sizes)
        self.layers = nn.ModuleList(_Layer(sizes) for _ in range(sizes.depth))
        self.layernorm = nn.LayerNorm(sizes.width, eps=EPS)
        # On the CPU even if the other tensors are only shapes (device "meta"), because checkpoints do not hold these.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN, device="cpu"), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD, device="cpu"), persistent=False)

    mean: Tensor
    std: Tensor

    def forward(self, pixels: UInt8[Tensor, "n rows columns 3"]) -> Float[Tensor, "n width"]:
        """Class tokens of images in [0, 255].

        Raises UserError for images of another size than that of the position embeddings.
        """
        side = self.sizes.image_size
        require(
            tuple(pixels.shape[1:3]) == (side, side),
            f"images of {pixels.shape[1]} x {pixels.shape[2]} px: this encoder takes {side} x {side} px.",
        )
        scaled = (pixels.to(self.mean.dtype) / 255 - self.mean) / self.std
        tokens = self.embeddings(scaled.permute(0, 3, 1, 2))
        for layer in self.layers:
            tokens = layer(tokens)
        return self.layernorm(tokens[:, 0])


class _Embeddings(nn.Module):
    def __init__(self, sizes: VitSizes) -> None:
        super().__init__()
        width, patch = sizes.width, sizes.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, sizes.patches + 1, width))
        self.patch_embeddings = nn.ModuleDict({"projection": nn.Conv2d(3, width, patch, stride=patch)})

    def forward(self, pictures: Float[Tensor, "n 3 rows columns"]) -> Float[Tensor, "n tokens width"]:
        patches = self.patch_embeddings["projection"](pictures).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], 1) + self.position_embeddings


class _Layer(nn.Module):
    def __init__(self, sizes: VitSizes) -> None:
        super().__init__()
        width = sizes.width
        self.layernorm_before = nn.LayerNorm(width, eps=EPS)
        self.attention = _Attention(width, sizes.heads)
        self.layernorm_after = nn.LayerNorm(width, eps=EPS)
        self.mlp = nn.ModuleDict({"fc1": Linear(width, sizes.mlp), "fc2": Linear(sizes.mlp, width)})

    def forward(self, tokens: Float[Tensor, "n tokens width"]) -> Float[Tensor, "n tokens width"]:
        tokens = tokens + self.attention(self.layernorm_before(tokens))
        hidden = functional.gelu(self.mlp["fc1"](self.layernorm_after(tokens)))
        return tokens + self.mlp["fc2"](hidden)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (Linear(width, width) for _ in range(4))

    def forward(self, tokens: Float[Tensor, "n tokens width"]) -> Float[Tensor, "n tokens width"]:
        query, key, value = (
            layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.o_proj(functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
