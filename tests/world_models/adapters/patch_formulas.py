"""The published architectures written again with loops from their papers' formulas, for comparison; float64 throughout."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor


class Weights:
    """A state dict in float64, read under a prefix."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        self.tensors, self.prefix = tensors, prefix

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[self.prefix + name].double()

    def under(self, name: str) -> Weights:
        return Weights(self.tensors, f"{self.prefix}{name}.")

    def depth(self, name: str) -> int:
        start = f"{self.prefix}{name}."
        return 1 + max(int(key[len(start) :].split(".")[0]) for key in self.tensors if key.startswith(start))

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self[f"{name}.weight"].T + self[f"{name}.bias"]

    def norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
        return scaled * self[f"{name}.weight"] + self[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """One head's softmax attention, tokens by features."""
    scores = (query @ key.T) / math.sqrt(query.shape[1])
    weights = (scores - scores.max(1, keepdim=True).values).exp()
    return weights / weights.sum(1, keepdim=True) @ value


def triangle(length: int, to: int) -> Tensor:
    """Matrix [to, length] of bilinear resizing with anti-aliasing: triangles as wide as the step, or as a pixel."""
    step = length / to
    width = max(step, 1.0)
    rows = torch.zeros(to, length, dtype=torch.float64)
    for i in range(to):
        for j in range(length):
            rows[i, j] = max(0.0, 1 - abs(j + 0.5 - (i + 0.5) * step) / width)
    return rows / rows.sum(1, keepdim=True)


def cubic(length: int, to: int) -> Tensor:
    """Matrix [to, length] of bicubic resizing (a = -0.75, edges repeated) by the factor (to + 0.1) / length, as DINOv2 does."""
    a, rows = -0.75, torch.zeros(to, length, dtype=torch.float64)
    for i in range(to):
        position = (i + 0.5) * length / (to + 0.1) - 0.5
        below = math.floor(position)
        for j in range(below - 1, below + 3):
            d = abs(position - j)
            weight = (a + 2) * d**3 - (a + 3) * d**2 + 1 if d <= 1 else a * (d**3 - 5 * d**2 + 8 * d - 4)
            rows[i, min(max(j, 0), length - 1)] += weight
    return rows


def dinov2(tensors: Mapping[str, Tensor], picture: Tensor, heads: int) -> Tensor:
    """Patch tokens of one picture [3, side, side]."""
    w = Weights(tensors)
    kernel = w["patch_embed.proj.weight"].flatten(1)
    side = picture.shape[1] // 14
    trained = w["pos_embed"][0]
    grid = round((len(trained) - 1) ** 0.5)
    resize = cubic(grid, side)
    positions = torch.einsum("ai,bj,ijd->abd", resize, resize, trained[1:].reshape(grid, grid, -1))
    rows = [w["cls_token"][0, 0] + trained[0]]
    for i in range(side):
        for j in range(side):
            patch = picture[:, 14 * i : 14 * i + 14, 14 * j : 14 * j + 14]
            rows.append(kernel @ patch.flatten() + w["patch_embed.proj.bias"] + positions[i, j])
    x = torch.stack(rows)
    for i in range(w.depth("blocks")):
        b = w.under(f"blocks.{i}")
        qkv = b.linear("attn.qkv", b.norm("norm1", x, 1e-6))
        width = qkv.shape[1] // 3
        size = width // heads
        seen = []
        for head in range(heads):
            q, k, v = (qkv[:, n * width + head * size : n * width + (head + 1) * size] for n in range(3))
            seen.append(attend(q, k, v))
        x = x + b["ls1.gamma"] * b.linear("attn.proj", torch.cat(seen, 1))
        x = x + b["ls2.gamma"] * b.linear("mlp.fc2", gelu(b.linear("mlp.fc1", b.norm("norm2", x, 1e-6))))
    return w.norm("norm", x, 1e-6)[1:]


def picture(pixels: Tensor, mean: tuple[float, ...], deviation: tuple[float, ...], side: int) -> Tensor:
    """One uint8 picture [height, width, 3] as the encoder takes it, [3, side, side]."""
    scaled = pixels.double().movedim(2, 0) / 255
    for channel in range(3):
        scaled[channel] = (scaled[channel] - mean[channel]) / deviation[channel]
    return triangle(scaled.shape[1], side) @ scaled @ triangle(scaled.shape[2], side).T


def embed(state: Mapping[str, Tensor], values: Tensor) -> Tensor:
    """An encoder that is a convolution of one step."""
    return values @ state["patch_embed.weight"][:, :, 0].double().T + state["patch_embed.bias"].double()


def causal_vit(state: Mapping[str, Tensor], frames: list[Tensor], heads: int) -> list[Tensor]:
    """DINO-WM's predictor: tokens [patches, width] of each frame to those of each next frame."""
    w = Weights(state)
    patches = len(frames[0])
    x = torch.cat(frames) + w["pos_embedding"][0, : patches * len(frames)]
    for i in range(w.depth("transformer.layers")):
        a, f = w.under(f"transformer.layers.{i}.0"), w.under(f"transformer.layers.{i}.1")
        query, key, value = (a.norm("norm", x, 1e-5) @ a["to_qkv.weight"].T).chunk(3, 1)
        rows = []
        for t in range(len(frames)):
            now, past = slice(t * patches, (t + 1) * patches), slice(0, (t + 1) * patches)
            seen = [attend(q[now], k[past], v[past]) for q, k, v in _heads(query, key, value, heads)]
            rows.append(torch.cat(seen, 1))
        x = x + a.linear("to_out.0", torch.cat(rows))
        x = x + f.linear("net.4", gelu(f.linear("net.1", f.norm("net.0", x, 1e-5))))
    return list(w.norm("transformer.norm", x, 1e-5).split(patches))


def modulated_vit(
    state: Mapping[str, Tensor], visual: list[Tensor], proprioception: list[Tensor], actions: Tensor, heads: int, side: int
) -> Tensor:
    """jepa-wms' predictor: the tokens (visual, then proprioception) of the frame after the last."""
    w = Weights(state)
    patches = side * side
    frames = [torch.cat([w.linear("predictor_embed", v), b], 1) for v, b in zip(visual, proprioception, strict=True)]
    x = torch.cat(frames)
    drive = w.linear("action_encoder", actions)
    drive = drive / (1 + (-drive).exp())
    for i in range(w.depth("predictor_blocks")):
        b = w.under(f"predictor_blocks.{i}")
        parts = torch.cat([row.expand(patches, -1) for row in b.linear("adaLN_modulation.1", drive)]).chunk(6, 1)
        inner = b.norm("norm1", x, 1e-6) * (1 + parts[1]) + parts[0]
        query, key, value = b.linear("attn.qkv", inner).chunk(3, 1)
        rows: list[Tensor] = []
        turned = [(rotate(q, side), rotate(k, side), v) for q, k, v in _heads(query, key, value, heads)]
        for t in range(len(frames)):
            now, past = slice(t * patches, (t + 1) * patches), slice(0, (t + 1) * patches)
            rows.append(torch.cat([attend(q[now], k[past], v[past]) for q, k, v in turned], 1))
        x = x + parts[2] * b.linear("attn.proj", torch.cat(rows))
        inner = b.norm("norm2", x, 1e-6) * (1 + parts[4]) + parts[3]
        x = x + parts[5] * b.linear("mlp.fc2", gelu(b.linear("mlp.fc1", inner)))
    x = w.norm("predictor_norm", x, 1e-6)[-patches:]
    width = w["predictor_proj.weight"].shape[1]
    return torch.cat([w.linear("predictor_proj", x[:, :width]), x[:, width:]], 1)


def rotate(values: Tensor, side: int) -> Tensor:
    """Rotary positions of one head: a third of the features each for frame, row and column."""
    size = values.shape[1]
    third = 2 * (size // 3 // 2)
    result = values.clone()
    token = torch.arange(len(values))
    for part, position in enumerate((token // side**2, token % side**2 // side, token % side)):
        for f in range(third):
            angle = position.double() * 10000.0 ** -((f % (third // 2)) / (third / 2))
            column = part * third + f
            other = -values[:, column + 1] if f % 2 == 0 else values[:, column - 1]
            result[:, column] = values[:, column] * angle.cos() + other * angle.sin()
    return result


def _heads(query: Tensor, key: Tensor, value: Tensor, heads: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    return list(zip(query.chunk(heads, 1), key.chunk(heads, 1), value.chunk(heads, 1), strict=True))
