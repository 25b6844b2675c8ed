"""Image encoders: pixels to one latent vector. `conv` is fast on a CPU, `vit` is a small vision transformer,
`moments` computes image moments of a few colours."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class SoftArgmax(nn.Module):
    """Position of each feature map's mass: the mean (x, y), in [-1, 1], under a softmax over the map's cells.

    After Finn et al., "Deep Spatial Autoencoders for Visuomotor Learning" (arXiv 1509.06113).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.full((channels,), 4.0))

    def forward(self, maps: Float[Tensor, "n channel height width"]) -> Float[Tensor, "n positions"]:
        """Positions, `[n, 2 * channel]`."""
        height, width = maps.shape[2:]
        x = torch.linspace(-1.0, 1.0, width, device=maps.device, dtype=maps.dtype)
        y = torch.linspace(-1.0, 1.0, height, device=maps.device, dtype=maps.dtype)
        bright = torch.softmax(maps.flatten(2) * self.sharpness.unsqueeze(1), 2).unflatten(2, (height, width))
        return torch.cat([bright.sum(2) @ x, bright.sum(3) @ y], 1)


class ConvEncoder(nn.Module):
    """Convolutions over 4 x 4 patches; latents come from feature positions and a coarse map. `size` is a multiple of 16."""

    def __init__(self, size: int, latent: int, width: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(3, width, 4, 4), nn.SiLU(), nn.Conv2d(width, width, 3, 1, 1))
        self.places = SoftArgmax(width)
        self.coarse = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, 2, 1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(2 * width * (size // 16) ** 2, 4 * width),
        )
        self.hidden = nn.Sequential(nn.Linear(6 * width, 4 * width), nn.SiLU(), nn.Linear(4 * width, latent))
        self.direct = nn.Linear(2 * width, latent)

    def forward(self, pictures: Float[Tensor, "n 3 size size"]) -> Float[Tensor, "n latent"]:
        """Latents of images whose mean has been subtracted."""
        maps = self.fine(pictures)
        positions = self.places(maps)
        return self.direct(positions) + self.hidden(torch.cat([positions, self.coarse(maps)], 1))

    def outputs(self) -> tuple[nn.Linear, ...]:
        """The linear layers whose outputs add up to the latents."""
        return (self.direct, cast(nn.Linear, self.hidden[-1]))


class Moments(nn.Module):
    """Image moments of each feature map: its mean position, and second and third central moments in units of its spread.

    Position, size and heading of a single shape are smooth functions of these wherever it is; after Hu, "Visual pattern
    recognition by moment invariants" (IRE Transactions on Information Theory, 1962).
    """

    OUT = 10
    """Features per map: log mass, position (2), log spread, second moments (2, or 3 with the spread) and third (4)."""
    POWERS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3))
    """Exponents of x and y."""

    def __init__(self, size: int) -> None:
        super().__init__()
        line = (torch.arange(size) + 0.5) / size * 2 - 1
        x, y = line.repeat(size), line.repeat_interleave(size)
        powers = [x**i * y**j for i, j in self.POWERS]
        self.register_buffer("powers", torch.stack(powers, 1), persistent=False)

    powers: Tensor
    """Powers of x and y in [-1, 1] at every cell."""

    def forward(self, masses: Float[Tensor, "n channel height width"]) -> Float[Tensor, "n features"]:
        """Features of nonnegative maps, `[n, OUT * channel]`."""
        raw = masses.flatten(2) @ self.powers
        mass = raw[..., 0] + 1e-3
        x, y, xx, xy, yy, xxx, xxy, xyy, yyy = (raw[..., 1:] / mass.unsqueeze(-1)).unbind(-1)
        sxx, sxy, syy = xx - x * x, xy - x * y, yy - y * y
        spread = (sxx + syy).clamp_min(1e-4)
        third = (
            xxx - 3 * x * xx + 2 * x**3,
            xxy - 2 * x * xy - y * xx + 2 * x * x * y,
            xyy - 2 * y * xy - x * yy + 2 * y * y * x,
            yyy - 3 * y * yy + 2 * y**3,
        )
        second = ((sxx - syy) / spread, 2 * sxy / spread)
        skew = [part / spread**1.5 for part in third]
        return torch.stack([torch.log(mass), x, y, torch.log(spread), *second, *skew], 2).flatten(1)


class MomentsEncoder(nn.Module):
    """Latents from the image moments of a few colours: cheap and exact for scenes of a few shapes in plain colours."""

    def __init__(self, size: int, latent: int, width: int) -> None:
        super().__init__()
        self.colours = nn.Conv2d(3, width, 2, 2)
        self.moments = Moments(size // 2)
        self.hidden = nn.Sequential(
            nn.Linear(Moments.OUT * width, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, latent)
        )
        self.direct = nn.Linear(Moments.OUT * width, latent)

    def forward(self, pictures: Float[Tensor, "n 3 size size"]) -> Float[Tensor, "n latent"]:
        """Latents of images whose mean has been subtracted."""
        features = self.moments(functional.relu(self.colours(pictures)))
        return self.direct(features) + self.hidden(features)

    def outputs(self) -> tuple[nn.Linear, ...]:
        """The linear layers whose outputs add up to the latents."""
        return (self.direct, cast(nn.Linear, self.hidden[-1]))


class Block(nn.Module):
    """A pre-norm transformer block with full attention over the patches."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_hidden = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.hidden = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Float[Tensor, "n token width"]) -> Float[Tensor, "n token width"]:
        """Tokens after attention and the hidden layer."""
        mixed = self.queries_keys_values(self.norm_attention(tokens)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in mixed)
        attended = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        tokens = tokens + self.out(attended)
        return tokens + self.hidden(self.norm_hidden(tokens))


class ViTEncoder(nn.Module):
    """A vision transformer over 8 x 8 patches with learned positions; the latent comes from a separate summary token."""

    PATCH = 8
    HEADS = 4
    DEPTH = 4

    def __init__(self, size: int, latent: int, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, self.PATCH, self.PATCH)
        self.summary = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, (size // self.PATCH) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, self.HEADS) for _ in range(self.DEPTH)))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, latent)

    def forward(self, pictures: Float[Tensor, "n 3 size size"]) -> Float[Tensor, "n latent"]:
        """Latents of images whose mean has been subtracted."""
        tokens = self.patches(pictures).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.summary.expand(len(tokens), -1, -1), tokens], 1) + self.positions
        return self.out(self.norm(self.blocks(tokens)[:, 0]))

    def outputs(self) -> tuple[nn.Linear, ...]:
        """The linear layers whose outputs add up to the latents."""
        return (self.out,)


ENCODERS: dict[str, Callable[[int, int, int], nn.Module]] = {"conv": ConvEncoder, "vit": ViTEncoder, "moments": MomentsEncoder}
"""Encoder classes by name; they take image size, latent size and width."""
