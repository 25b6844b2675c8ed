"""LeWM as a `WorldModel` over pixels (Maes et al., "LeWorldModel", arXiv 2603.19312): a small ViT and a causal predictor.

A state is the projected class token of one image. One model step maps the last h states and action blocks to the next state, by
a transformer whose blocks are modulated by the embedded actions (AdaLN-zero), then a projector. Layers are named as in
published files, with transformers 5's names inside the ViT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor, nn

from world_models.adapters.lewm.vit import Vit, VitSizes
from world_models.base import PixelObservation
from world_models.errors import UnknownNameError, require
from world_models.models.network import Network
from world_models.models.rows import Linear, SiLU, linear

ADALN_EPS = 1e-6
"""Epsilon of the two norms that the actions modulate; the predictor's other norms use torch's default."""

LARGEST = 65_536
"""Upper bound on any size of any such model."""


@dataclass(frozen=True)
class LeWMConfig:
    """Configuration of a `LeWM`. Raises UserError for a size outside 1..`LARGEST`, UnknownNameError for an unknown norm."""

    action_dim: int
    """Size of one environment action."""
    action_block: int = 5
    """Environment steps per model step; the model's action is that many environment actions, concatenated."""
    history: int = 3
    image_size: int = 224
    patch_size: int = 14
    vit_width: int = 192
    vit_depth: int = 12
    vit_heads: int = 3
    vit_mlp: int = 768
    latent_dim: int = 192
    """Size of a state, which is the projector's output."""
    projector_width: int = 2048
    projector_norm: str = "batch"
    """Norm inside the projectors: `batch` (with fixed statistics), `layer` or `none`."""
    action_width: int = 10
    """Channels after the action encoder's first layer."""
    action_hidden: int = 768
    width: int = 192
    """Width of the predictor."""
    depth: int = 6
    heads: int = 16
    head_dim: int = 64
    mlp: int = 2048

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "projector_norm":
                sound = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST
                require(sound, f"LeWM size {field.name} {value!r} is not a whole number between 1 and {LARGEST}.")
        if self.projector_norm not in NORMS:
            raise UnknownNameError("projector norm", self.projector_norm, NORMS)
        _ = self.vit

    @property
    def vit(self) -> VitSizes:
        """Sizes of the image encoder."""
        return VitSizes(self.image_size, self.patch_size, self.vit_width, self.vit_depth, self.vit_heads, self.vit_mlp)


class FixedBatchNorm(nn.Module):
    """Batch normalisation with the training statistics, in any mode of the model."""

    eps = 1e-5

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    running_mean: Tensor
    running_var: Tensor

    def forward(self, x: Float[Tensor, "n features"]) -> Float[Tensor, "n features"]:
        """Normalised features."""
        return (x - self.running_mean) * torch.rsqrt(self.running_var + self.eps) * self.weight + self.bias


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": FixedBatchNorm,
    "layer": nn.LayerNorm,
    "none": lambda features: nn.Identity(),
}
"""Norms of the projectors by name."""


class Projector(nn.Module):
    """An MLP of one hidden layer: linear, norm, GELU, linear."""

    def __init__(self, inputs: int, hidden: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.net = nn.Sequential(Linear(inputs, hidden), NORMS[norm](hidden), nn.GELU(), Linear(hidden, outputs))

    def forward(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
        """Projections."""
        return self.net(x)


class ActionEncoder(nn.Module):
    """Embedding of each action block: a linear layer (stored as a convolution of size 1), then an MLP with SiLU."""

    def __init__(self, inputs: int, channels: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.patch_embed = nn.Conv1d(inputs, channels, kernel_size=1)
        self.embed = nn.Sequential(Linear(channels, hidden), SiLU(), Linear(hidden, outputs))

    def forward(self, actions: Float[Tensor, "n h action"]) -> Float[Tensor, "n h latent"]:
        """Embeddings of blocks."""
        return self.embed(linear(actions, self.patch_embed.weight[..., 0], self.patch_embed.bias))


class CausalAttention(nn.Module):
    """Self-attention in which a frame sees itself and the frames before it."""

    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.to_qkv = Linear(width, 3 * heads * head_dim, bias=False)
        self.to_out = nn.Sequential(Linear(heads * head_dim, width))

    def forward(self, x: Float[Tensor, "n h width"]) -> Float[Tensor, "n h width"]:
        """Frames after attention."""
        if len(x) == 1 and x.device.type == "cpu":
            # The products of a single row are laid out otherwise, and rounded otherwise.
            return self(x.expand(2, -1, -1))[:1]
        query, key, value = self.to_qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # With a handful of frames, explicit attention is as fast as the fused kernel and can be differentiated twice.
        scores = query @ key.mT * query.shape[-1] ** -0.5
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
        mixed = scores.masked_fill(later, -torch.inf).softmax(-1) @ value
        return self.to_out(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """LayerNorm followed by an MLP with GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        # Index 3 is dropout in the published models, which makes the second linear layer number 4.
        self.net = nn.Sequential(nn.LayerNorm(width), Linear(width, hidden), nn.GELU(), nn.Identity(), Linear(hidden, width))

    def forward(self, x: Float[Tensor, "n h width"]) -> Float[Tensor, "n h width"]:
        """Frames after the MLP."""
        return self.net(x)


class Block(nn.Module):
    """A transformer block whose two branches are shifted, scaled and gated by the action's embedding."""

    def __init__(self, config: LeWMConfig) -> None:
        super().__init__()
        width = config.width
        self.attn = CausalAttention(width, config.heads, config.head_dim)
        self.mlp = FeedForward(width, config.mlp)
        self.norm = nn.LayerNorm(width, eps=ADALN_EPS, elementwise_affine=False)
        self.adaLN_modulation = nn.Sequential(SiLU(), Linear(width, 6 * width))

    def forward(self, x: Float[Tensor, "n h width"], condition: Float[Tensor, "n h width"]) -> Float[Tensor, "n h width"]:
        """Frames after attention and MLP."""
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self.adaLN_modulation(condition).chunk(6, -1)
        x = x + gate * self.attn(self.norm(x) * (1 + scale) + shift)
        return x + mlp_gate * self.mlp(self.norm(x) * (1 + mlp_scale) + mlp_shift)


class Transformer(nn.Module):
    """Blocks between optional projections to and from their width, with a norm after the last block."""

    def __init__(self, config: LeWMConfig) -> None:
        super().__init__()
        latent, width = config.latent_dim, config.width
        same = latent == width
        self.input_proj = nn.Identity() if same else Linear(latent, width)
        self.cond_proj = nn.Identity() if same else Linear(latent, width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.output_proj = nn.Identity() if same else Linear(width, latent)

    def forward(self, x: Float[Tensor, "n h latent"], condition: Float[Tensor, "n h latent"]) -> Float[Tensor, "n latent"]:
        """The frame that follows the last one."""
        x, condition = self.input_proj(x), self.cond_proj(condition)
        for layer in self.layers:
            x = layer(x, condition)
        return self.output_proj(self.norm(x[:, -1]))


class Predictor(nn.Module):
    """The transformer over frames with position embeddings in time."""

    def __init__(self, config: LeWMConfig) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, config.history, config.latent_dim))
        self.transformer = Transformer(config)

    def forward(self, states: Float[Tensor, "n h latent"], condition: Float[Tensor, "n h latent"]) -> Float[Tensor, "n latent"]:
        """The state that follows the last one, before projection."""
        return self.transformer(states + self.pos_embedding[:, : states.shape[1]], condition)


class LeWM(Network[LeWMConfig]):
    """Encoder, action encoder and predictor; actions in [-1, 1] are standardised by the training mean and deviation."""

    def __init__(self, config: LeWMConfig) -> None:
        super().__init__(config)
        latent, hidden, norm = config.latent_dim, config.projector_width, config.projector_norm
        self.encoder = Vit(config.vit)
        self.projector = Projector(config.vit_width, hidden, latent, norm)
        self.action_encoder = ActionEncoder(self.action_dim, config.action_width, config.action_hidden, latent)
        self.predictor = Predictor(config)
        self.pred_proj = Projector(latent, hidden, latent, norm)
        self.register_buffer("action_mean", torch.zeros(config.action_dim))
        self.register_buffer("action_std", torch.ones(config.action_dim))

    action_mean: Tensor
    """Mean of the environment actions that the model was trained on, in our units."""
    action_std: Tensor

    def action_statistics(self) -> tuple[Float[Tensor, " axis"], Float[Tensor, " axis"]]:
        """Mean and deviation of the environment actions that the model was trained on, in our units."""
        return self.action_mean, self.action_std

    @property
    def state_shape(self) -> tuple[int, ...]:
        """`(latent_dim,)`."""
        return (self.config.latent_dim,)

    @property
    def history(self) -> int:
        """Number of states and actions that a step sees at most."""
        return self.config.history

    takes_shorter_windows = True
    """The states of a window of k have the first k positions, as in its authors' rollouts."""

    def encode(self, observation: PixelObservation) -> Float[Tensor, "batch latent"]:
        """Projected class tokens of images; proprioception is ignored.

        Raises UserError for images of another size than the model's.
        """
        return self.projector(self.encoder(observation.pixels))

    def step(self, states: Float[Tensor, "n h latent"], actions: Float[Tensor, "n h action"]) -> Float[Tensor, "n latent"]:
        """The next state after each window of h states and the action blocks taken in them."""
        blocks = actions.unflatten(-1, (self.config.action_block, self.config.action_dim))
        standard = ((blocks - self.action_mean) / self.action_std).flatten(-2)
        return self.pred_proj(self.predictor(states, self.action_encoder(standard)))
