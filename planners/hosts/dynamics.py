"""World models of the hosts as a `WorldModel`: one step at a time, with the window that the host's own rollout would show.

stable-worldmodel's models over one embedding per picture (LeWM, PLDM) and over patches (PreJEPA), and le-wm's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from planners.hosts.infos import observation_inputs


@runtime_checkable
class EmbeddingNetwork(Protocol):
    """A host's network with one embedding per picture, and an `action_encoder` beside these methods."""

    def encode(self, info: dict) -> dict:
        """The info with the embeddings `emb` `[batch, time, feature]` of its pictures."""
        ...

    def predict(self, emb: Tensor, act_emb: Tensor) -> Tensor:
        """Embeddings that follow each of a window's, `[batch, time, feature]`."""
        ...

    def parameters(self) -> Iterator[Tensor]:
        """Parameters, at least one."""
        ...


@runtime_checkable
class PatchNetwork(Protocol):
    """A host's network with one embedding per patch, which holds pixels and the `extra_encoders`' outputs."""

    def encode(self, info: dict, **names: Any) -> dict:
        """The info with the embeddings `[batch, time, patch, feature]` of its observations."""
        ...

    def predict(self, embedding: Tensor) -> Tensor:
        """Embeddings that follow each of a window's."""
        ...

    def split_embedding(self, embedding: Tensor, extra_dims: list[int]) -> dict:
        """The parts of an embedding by name."""
        ...

    def parameters(self) -> Iterator[Tensor]:
        """Parameters, at least one."""
        ...


@dataclass(frozen=True, eq=False)
class HostNetwork:
    """A host's network, with its place and type."""

    network: Any

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the parameters."""
        return next(self.network.parameters()).dtype


@dataclass(frozen=True, eq=False)
class HostDynamics(HostNetwork, ABC):
    """A host's network as a world model; subclasses say what its frames are, and what follows them."""

    action_dim: int
    state_shape: tuple[int, ...]
    history: int

    def encode(self, observation: Mapping[str, Any]) -> Float[Tensor, "batch *state"]:
        """States of the last frames of a host's info."""
        return self.frames(observation)[:, -1]

    @abstractmethod
    def frames(self, info: Mapping[str, Any]) -> Float[Tensor, "batch seen *state"]:
        """States of all frames of a host's info."""

    @property
    def takes_shorter_windows(self) -> bool:
        """True: every host's evaluation starts from one frame."""
        return True

    @abstractmethod
    def step(
        self, states: Float[Tensor, "n seen *state"], actions: Float[Tensor, "n seen action"]
    ) -> Float[Tensor, "n *state"]:
        """The next state after each window of 1 to h states, and the actions in them."""


class EmbeddingDynamics(HostDynamics):
    """A model over one embedding per picture: LeWM, PLDM."""

    @staticmethod
    def of(
        network: EmbeddingNetwork, action_dim: int, info: Mapping[str, Any], history: int | None
    ) -> tuple[EmbeddingDynamics, Float[Tensor, "batch seen *state"]]:
        """The model of a network, and the states of an info's frames. `history` None: as the host's rollout has it."""
        frames = _embeddings(network, info)
        return EmbeddingDynamics(network, action_dim, tuple(frames.shape[2:]), history or _history(network)), frames

    def frames(self, info: Mapping[str, Any]) -> Float[Tensor, "batch seen *state"]:
        """Embeddings of all frames."""
        return _embeddings(self.network, info)

    def step(
        self, states: Float[Tensor, "n seen *state"], actions: Float[Tensor, "n seen action"]
    ) -> Float[Tensor, "n *state"]:
        """The embedding that follows each window."""
        return self.network.predict(states, self.network.action_encoder(actions))[:, -1]


def _embeddings(network: EmbeddingNetwork, info: Mapping[str, Any]) -> Float[Tensor, "batch seen *state"]:
    with torch.no_grad():
        return network.encode(observation_inputs(info))["emb"]


def _history(network: Any) -> int:
    """Frames of a window, by the hosts' own rule: their predictor's `num_frames`, and 3 where it has none."""
    return getattr(network.predictor, "num_frames", 3)


class PatchDynamics(HostDynamics):
    """A model over patches (PreJEPA): a state holds all parts of an embedding but the action's, which each step puts in."""

    @staticmethod
    def of(
        network: PatchNetwork, action_dim: int, info: Mapping[str, Any], history: int | None
    ) -> tuple[PatchDynamics, Float[Tensor, "batch seen patch feature"]]:
        """The model of a network, and the states of an info's frames. `history` None: the network's `history_size`."""
        seen = history or int(cast(Any, network).history_size)
        frames = PatchDynamics(network, action_dim, (), seen).frames(info)
        return PatchDynamics(network, action_dim, tuple(frames.shape[2:]), seen), frames

    @property
    def widths(self) -> dict[str, int]:
        """Features of each further part by name, in the embedding's order."""
        return {name: int(encoder.emb_dim) for name, encoder in self.network.extra_encoders.items()}

    def frames(self, info: Mapping[str, Any]) -> Float[Tensor, "batch seen patch feature"]:
        """Embeddings of all frames, without actions."""
        names = [name for name in self.widths if name != "action"]
        with torch.no_grad():
            return self.network.encode(observation_inputs(info), emb_keys=names, target="emb")["emb"]

    def step(
        self, states: Float[Tensor, "n seen *state"], actions: Float[Tensor, "n seen action"]
    ) -> Float[Tensor, "n *state"]:
        """The embedding that follows each window, without its action."""
        act = self.network.extra_encoders["action"](actions).unsqueeze(2).expand(*states.shape[:3], -1)
        before = self._before_action(states.shape[-1])
        predicted = self.network.predict(torch.cat([states[..., :before], act, states[..., before:]], -1))[:, -1]
        return torch.cat([predicted[..., :before], predicted[..., before + act.shape[-1] :]], -1)

    def parts(self, states: Float[Tensor, "*n patch feature"]) -> dict[str, Tensor]:
        """The parts of states by name: `pixels` of every patch, and each further one, which is the same in all patches."""
        widths = {name: width for name, width in self.widths.items() if name != "action"}
        first = states.shape[-1] - sum(widths.values())
        result = {"pixels": states[..., :first]}
        for name, width in widths.items():
            result[name] = states[..., 0, first : first + width]
            first += width
        return result

    def _before_action(self, features: int) -> int:
        """Features of a state that come before the action's in an embedding."""
        names = list(self.widths)
        return features - sum(self.widths[name] for name in names[names.index("action") + 1 :])
