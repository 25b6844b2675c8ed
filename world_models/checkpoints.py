"""Checkpoints: a folder with `model.safetensors` and `card.json`. Nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from world_models.base import GoalCost, WorldModel

ZOO = Path(__file__).parent / "zoo"
"""Models that ship with the package, a folder each."""


@dataclass(frozen=True)
class LoadedModel:
    """A world model ready to plan with: its goal cost, how to read observations off states, and its card."""

    name: str
    model: WorldModel
    goal_cost: GoalCost
    decode: Callable[[Float[Tensor, "n *state"]], Float[Tensor, "n observation"]]
    """Model states to state observations (what the task's `pose` reads): for success in the model and pictures."""
    card: Mapping[str, object]
    """Training config, task dynamics it was trained on (`card["dynamics"]`), errors, seconds, digests."""
    digest: str
    """Content digest of weights and config."""


def zoo_names() -> list[str]:
    """Names of the models that ship with the package."""


def resolve(name_or_path: str) -> Path:
    """The checkpoint folder of a zoo name or path; UserError with the nearest names otherwise."""


def read_card(name_or_path: str) -> tuple[Mapping[str, object], str]:
    """Card and content digest without building the model (what the driver needs to make cell ids)."""


def load(name_or_path: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Load a checkpoint; UserError for an unknown name, a truncated or foreign file."""


def check_fit(card: Mapping[str, object], dynamics: Mapping[str, object], action_size: int) -> None:
    """UserError unless a model's card fits a task's dynamics and model-step action size."""
