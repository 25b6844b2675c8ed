"""What every adapter says: how a foreign file is recognised, and what it becomes when it is imported.

An adapter is a module of this package with two functions (`Recognise` and `Convert`) called `recognise` and `convert`.
Neither executes anything that a file holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor

from world_models.tasks.base import Task


@dataclass(frozen=True)
class Found:
    """What a file is, as far as it says itself."""

    kind: str
    """Name of the adapter: `dino-wm`, `jepa-wms`, `lewm` or `tdmpc2`."""
    path: Path
    """The file that was looked at."""
    sizes: Mapping[str, int | str]
    """Sizes for people to read, by name, such as `{"history": 3, "depth": 6}`."""
    needs: tuple[str, ...] = ()
    """What else an import needs, such as `("dinov2_vits14 weights",)`."""
    action_size: int = 0
    """Numbers that one model step takes: size of an environment action times the steps of a block."""
    action_block: int | None = None
    """Environment steps a model step; None where the file does not say."""
    proprioception_dim: int = 0
    """Body features that the model takes; 0 for none."""
    observation_dim: int | None = None
    """Size of the state observation that the model encodes; None for models with eyes."""
    notes: tuple[str, ...] = ()
    """What a user should know, a sentence each."""


@dataclass(frozen=True)
class Imported:
    """What a foreign checkpoint becomes: what `world_models.checkpoints.write` takes."""

    format: str
    """Name in `world_models.formats.FORMATS`."""
    config: Mapping[str, object]
    """Sizes of the architecture, with `action_dim` (one environment action) and `action_block`; JSON values."""
    tensors: Mapping[str, Tensor]
    """Every weight and constant, the encoder's included, under our names."""
    sensors: Mapping[str, object] = field(default_factory=lambda: {"kind": "state"})
    """Fields of `world_models.sensors.Sensors`: what the model observes."""
    goal_cost: str = "latent"
    """Name of the default goal cost."""
    notes: tuple[str, ...] = ()
    """For the card, a sentence each: where constants come from, what was left out."""


class Recognise(Protocol):
    """`recognise(path)` of an adapter."""

    def __call__(self, path: Path) -> Found | None:
        """What the file is; None where it is not of this kind.

        UserError for a file of this kind that is damaged, hostile or of an unsupported make.
        """
        ...


class Convert(Protocol):
    """`convert(found, task, encoder_path)` of an adapter."""

    def __call__(self, found: Found, task: Task, encoder_path: Path | None = None) -> Imported:
        """The model as ours, for a task. UserError where sizes do not fit the task or the encoder's file is missing."""
        ...
