"""Base classes of world models: the properties that follow from their parameters and their configuration."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import nn


@runtime_checkable
class ModelConfig(Protocol):
    """The part of a model's configuration that its action size follows from."""

    @property
    def action_dim(self) -> int:
        """Size of one environment action."""
        ...

    @property
    def action_block(self) -> int:
        """Environment steps per model step."""
        ...


Config = TypeVar("Config", bound=ModelConfig)


class Placed(nn.Module):
    """A module whose device and type are those of its first parameter."""

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the parameters, and of states and actions."""
        return next(self.parameters()).dtype


class Network(Placed, Generic[Config]):
    """A module with a configuration; subclasses add `state_shape`, `encode` and `step` to become a `WorldModel`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    @property
    def action_dim(self) -> int:
        """Size of one model step's action: environment action size times `action_block`."""
        return self.config.action_dim * self.config.action_block

    @property
    def history(self) -> int:
        """1: the state is Markov. Models that see several states override it."""
        return 1
