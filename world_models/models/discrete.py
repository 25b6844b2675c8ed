"""Models with discrete latents: planners move through their embeddings, which are continuous.

A latent is a row of categorical variables, such as the codes of a vector quantiser. The planner's state holds an embedding per
variable: the mean of the codes' embeddings under the variable's probabilities.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from world_models.errors import require
from world_models.models.network import Placed


class DiscreteLatents(Placed):
    """A model of categorical latents as a `WorldModel` of history 1, whose states are embeddings, `(variables, size)`.

    `codebook` `[codes, size]`, or `[variables, codes, size]` with embeddings of their own for every variable, embeds codes.
    `encoder(observation)` and `dynamics(embeddings, action)`, `[n, variables, size]` and `[n, action]`, return logits
    `[n, variables, codes]`.

    The state is the expected embedding of probabilities `softmax(logits / temperature)`. With `hard`, it is the likeliest
    code's embedding, and gradients are those of the expected one (straight-through: Bengio et al. 2013, arXiv 1308.3432): then
    a state is always a code, and gradients are not the slope of the step, which `grasp check` says.

    Raises UserError for a codebook of another shape and a temperature that is not positive.
    """

    def __init__(
        self,
        encoder: nn.Module,
        dynamics: nn.Module,
        codebook: Float[Tensor, "*variables codes size"],
        variables: int,
        action_dim: int,
        temperature: float = 1.0,
        hard: bool = False,
    ) -> None:
        super().__init__()
        sound = codebook.ndim == 2 or (codebook.ndim == 3 and len(codebook) == variables)
        shape = tuple(codebook.shape)
        require(sound, f"a codebook of shape {shape} is neither [codes, size] nor [{variables}, codes, size]: reshape it.")
        sound = math.isfinite(temperature) and temperature > 0
        require(sound, f"temperature {temperature} is not positive: give a number above 0, such as 1.")
        self.encoder, self.dynamics = encoder, dynamics
        self.codebook = nn.Parameter(codebook.detach().clone().expand(variables, *shape[-2:]).contiguous())
        self.action_dim, self.temperature, self.hard = action_dim, temperature, hard

    history = 1

    @property
    def state_shape(self) -> tuple[int, ...]:
        """`(variables, size)`."""
        return (len(self.codebook), self.codebook.shape[2])

    def encode(self, observation: Any) -> Float[Tensor, "batch variables size"]:
        """Embeddings of the latents of observations."""
        return self.embed(self.encoder(observation))

    def step(
        self, states: Float[Tensor, "n 1 variables size"], actions: Float[Tensor, "n 1 action"]
    ) -> Float[Tensor, "n variables size"]:
        """Embeddings of the next latents."""
        return self.embed(self.dynamics(states[:, -1], actions[:, -1]))

    def embed(self, logits: Float[Tensor, "n variables codes"]) -> Float[Tensor, "n variables size"]:
        """Embeddings of categorical variables."""
        shares = torch.softmax(logits / self.temperature, -1)
        if self.hard:
            likeliest = torch.nn.functional.one_hot(shares.argmax(-1), shares.shape[-1]).to(shares.dtype)
            shares = likeliest + shares - shares.detach()
        return torch.einsum("nvc,vcs->nvs", shares, self.codebook)
