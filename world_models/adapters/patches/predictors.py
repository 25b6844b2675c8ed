"""The two predictors of published patch-token models, with the parameter names of their files.

Both attend causally by frame, and both return only the last frame's tokens: the rest of the last layer is never computed.
- `CausalViT`: DINO-WM's (Zhou et al., arXiv 2411.04983); every token concatenates image, proprioception and action.
- `ModulatedViT`: jepa-wms' (Terver et al., arXiv 2512.24497); actions modulate the norms, positions rotate queries and keys.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from world_models.models.rows import Linear, SiLU

ROPE_BASE = 10000.0
"""Ratio of the slowest to the fastest rotation of positions."""


class Predictor(Protocol):
    """Map from h frames of tokens (visual and proprioception features) and their embedded actions to the next frame's
    tokens."""

    def __call__(
        self, states: Float[Tensor, "n h patches state"], actions: Float[Tensor, "n h action"]
    ) -> Float[Tensor, "n patches state"]:
        """Tokens of the next frame."""
        ...


class CausalViT(nn.Module):
    """DINO-WM's predictor: actions are repeated in all patches, and its outputs for them are dropped."""

    def __init__(self, width: int, depth: int, heads: int, head_dim: int, hidden: int, frames: int, patches: int) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, frames * patches, width))
        layers = (nn.ModuleList([_Attention(width, heads, head_dim), _FeedForward(width, hidden)]) for _ in range(depth))
        self.transformer = nn.ModuleDict({"norm": nn.LayerNorm(width), "layers": nn.ModuleList(layers)})

    def forward(
        self, states: Float[Tensor, "n h patches state"], actions: Float[Tensor, "n h action"]
    ) -> Float[Tensor, "n patches state"]:
        """Tokens of the next frame; h must not exceed the number of frames with trained positions."""
        patches, state = states.shape[2:]
        tokens = torch.cat([states, actions.unsqueeze(2).expand(-1, -1, patches, -1)], -1).flatten(1, 2)
        tokens = tokens + self.pos_embedding[:, : tokens.shape[1]]
        seen = causal_mask(states.shape[1], patches, tokens.device)
        layers = self.transformer["layers"]
        assert isinstance(layers, nn.ModuleList)
        for number, layer in enumerate(layers):
            assert isinstance(layer, nn.ModuleList)
            if number == len(layers) - 1:
                tokens = layer[0](tokens, seen[-patches:]) + tokens[:, -patches:]
            else:
                tokens = layer[0](tokens, seen) + tokens
            tokens = layer[1](tokens) + tokens
        return self.transformer["norm"](tokens)[:, -patches:, :state]


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.to_qkv = Linear(width, 3 * heads * head_dim, bias=False)
        self.to_out = nn.Sequential(Linear(heads * head_dim, width))

    def forward(self, tokens: Float[Tensor, "n t width"], seen: Bool[Tensor, "q t"]) -> Float[Tensor, "n q width"]:
        """Attention output of the last q tokens."""
        parts = self.to_qkv(self.norm(tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        taken = F.scaled_dot_product_attention(query[:, :, -len(seen) :], key, value, attn_mask=seen)
        return self.to_out(taken.transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        # The published networks have dropout between these, which counts in the parameter names.
        self.net = nn.Sequential(nn.LayerNorm(width), Linear(width, hidden), nn.GELU(), nn.Identity(), Linear(hidden, width))

    def forward(self, tokens: Float[Tensor, "n t width"]) -> Float[Tensor, "n t width"]:
        return self.net(tokens)


class ModulatedViT(nn.Module):
    """jepa-wms' predictor: adaptive layer norms driven by the action, rotary positions over time, height and width."""

    def __init__(
        self, visual: int, width: int, proprioception_width: int, depth: int, heads: int, hidden: int, side: int
    ) -> None:
        super().__init__()
        self.proprioception_width, self.side = proprioception_width, side
        self.predictor_embed = Linear(visual, width)
        self.predictor_blocks = nn.ModuleList(
            _ModulatedBlock(width + proprioception_width, heads, hidden) for _ in range(depth)
        )
        self.predictor_norm = nn.LayerNorm(width + proprioception_width, eps=1e-6)
        self.predictor_proj = Linear(width, visual)

    def forward(
        self, states: Float[Tensor, "n h patches state"], actions: Float[Tensor, "n h action"]
    ) -> Float[Tensor, "n patches state"]:
        """Tokens of the next frame; `actions` are as wide as the blocks."""
        frames, patches = states.shape[1:3]
        visual = states.shape[3] - self.proprioception_width
        embedded = self.predictor_embed(states[..., :visual])
        tokens = torch.cat([embedded, states[..., visual:]], -1).flatten(1, 2)
        seen = causal_mask(frames, patches, tokens.device)
        first = self.predictor_blocks[0]
        assert isinstance(first, _ModulatedBlock)
        cos_sin = rotations(frames, self.side, first.head_dim, tokens)
        for number, block in enumerate(self.predictor_blocks):
            last = number == len(self.predictor_blocks) - 1
            tokens = block(tokens, actions, seen[-patches:] if last else seen, cos_sin)
        tokens = self.predictor_norm(tokens)
        split = tokens.shape[-1] - self.proprioception_width
        return torch.cat([self.predictor_proj(tokens[..., :split]), tokens[..., split:]], -1)


class _ModulatedBlock(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": Linear(width, 3 * width), "proj": Linear(width, width)})
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": Linear(width, hidden), "fc2": Linear(hidden, width)})
        self.adaLN_modulation = nn.Sequential(SiLU(), Linear(width, 6 * width))

    def forward(
        self,
        tokens: Float[Tensor, "n t width"],
        actions: Float[Tensor, "n h width"],
        seen: Bool[Tensor, "q t"],
        cos_sin: tuple[Float[Tensor, "t head"], Float[Tensor, "t head"]],
    ) -> Float[Tensor, "n q width"]:
        """The last q tokens after attention and MLP, modulated by their frames' actions."""
        modulation = self.adaLN_modulation(actions).repeat_interleave(tokens.shape[1] // actions.shape[1], 1)
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = modulation.chunk(6, -1)
        kept = len(seen)
        attended = self._attend(self.norm1(tokens) * (1 + scale) + shift, seen, cos_sin)
        tokens = tokens[:, -kept:] + attended * gate[:, -kept:]
        inner = self.norm2(tokens) * (1 + scale_mlp[:, -kept:]) + shift_mlp[:, -kept:]
        return tokens + gate_mlp[:, -kept:] * self.mlp["fc2"](F.gelu(self.mlp["fc1"](inner)))

    def _attend(
        self,
        tokens: Float[Tensor, "n t width"],
        seen: Bool[Tensor, "q t"],
        cos_sin: tuple[Float[Tensor, "t head"], Float[Tensor, "t head"]],
    ) -> Float[Tensor, "n q width"]:
        parts = self.attn["qkv"](tokens).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        query, key = rotate(query, cos_sin)[:, :, -len(seen) :], rotate(key, cos_sin)
        taken = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return self.attn["proj"](taken.transpose(1, 2).flatten(2))


def causal_mask(frames: int, patches: int, device: torch.device) -> Bool[Tensor, "t t"]:
    """Mask of the tokens (columns) that each token (row) may see: those of its own and all earlier frames."""
    frame = torch.arange(frames * patches, device=device) // patches
    return frame.unsqueeze(1) >= frame


def rotations(
    frames: int, side: int, head_dim: int, like: Float[Tensor, "*any"]
) -> tuple[Float[Tensor, "t head"], Float[Tensor, "t head"]]:
    """Cosines and sines of the rotations of each token's pairs of features: a third each for time, row and column.

    A third is 2 * (head_dim // 3 // 2) features; the remaining ones are not rotated. In a third of 2k features, feature f is
    rotated by position * omega[f mod k], as in the published code, so that the two features of a pair rotate by different
    angles.
    """
    third = 2 * (head_dim // 3 // 2)
    omega = ROPE_BASE ** -(torch.arange(third // 2, dtype=like.dtype, device=like.device) / (third / 2))
    token = torch.arange(frames * side * side, device=like.device)
    positions = (token // side**2, token % side**2 // side, token % side)
    angles = torch.cat([(position.to(like.dtype).unsqueeze(1) * omega).repeat(1, 2) for position in positions], 1)
    still = like.new_zeros(len(token), head_dim - 3 * third)
    return torch.cat([angles.cos(), still + 1], 1), torch.cat([angles.sin(), still], 1)


def rotate(
    values: Float[Tensor, "n heads t head"], cos_sin: tuple[Float[Tensor, "t head"], Float[Tensor, "t head"]]
) -> Float[Tensor, "n heads t head"]:
    """Values with each pair of neighbouring features rotated."""
    cos, sin = cos_sin
    even = values.shape[-1] // 2 * 2
    pairs = values[..., :even].unflatten(-1, (-1, 2))
    crossed = torch.stack([-pairs[..., 1], pairs[..., 0]], -1).flatten(-2)
    return values * cos + F.pad(crossed, (0, values.shape[-1] - even)) * sin
