"""The adapter contract: recognising a foreign checkpoint file, and converting it into one of ours.

An adapter has two functions, `recognise` and `convert`: a module of this package has them at its top, a plug-in's class as
methods. Neither executes anything in a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from world_models.adapters.weights import Choice
from world_models.tasks.base import Task


@dataclass(frozen=True)
class Given:
    """Statements of the user about a file."""

    weights: Choice | None = None
    """The weights to take; None: those that the authors' own loader takes."""
    environment: str | None = None
    """The environment that it was trained on, for a file that does not tell it."""


NOTHING = Given()
"""No statement."""


@dataclass(frozen=True)
class Found:
    """Description of a file, as far as its content tells."""

    kind: str
    """Name of the adapter, such as `dino-wm` or `lewm`."""
    path: Path
    """The file."""
    sizes: Mapping[str, int | str]
    """Sizes to show to users, by name, such as `{"history": 3, "depth": 6}`."""
    needs: tuple[str, ...] = ()
    """Other files that an import needs, such as `("dinov2_vits14 weights",)`."""
    action_size: int = 0
    """Size of one model step's action: environment action size times `action_block`."""
    action_block: int | None = None
    """Environment steps per model step; None if the file does not tell."""
    proprioception_dim: int = 0
    """Number of proprioception features that the model takes."""
    observation_dim: int | None = None
    """Size of the state observation that the model encodes; None for pixel models."""
    pads_observations: bool = False
    """Whether shorter observations are filled up with zeros."""
    notes: tuple[str, ...] = ()
    """Remarks for the user, one sentence each."""
    given: Given = NOTHING
    """Statements of the user about the file."""
    asks_environment: bool = False
    """Whether an import needs to know the environment of its training, because sizes do not tell it from others.

    It is `sizes["environment"]`, by the name that its authors use.
    """


@dataclass(frozen=True)
class Imported:
    """A converted checkpoint, as `world_models.checkpoints.store.write` takes it."""

    format: str
    """Name in `world_models.checkpoints.formats.FORMATS`."""
    config: Mapping[str, object]
    """Sizes of the architecture, with `action_dim` (one environment action) and `action_block`; JSON values."""
    tensors: Mapping[str, Tensor]
    """All weights and constants under our names, including the encoder's."""
    sensors: Mapping[str, object] = field(default_factory=lambda: {"kind": "state"})
    """Fields of the model's `world_models.sensors.Sensors`."""
    goal_cost: str = "latent"
    """Name of the default goal cost."""
    notes: tuple[str, ...] = ()
    """Remarks for the card, one sentence each, such as the source of constants or parts left out."""


@runtime_checkable
class Adapter(Protocol):
    """A reader of one kind of checkpoint."""

    def recognise(self, path: Path, given: Given = NOTHING) -> Found | None:
        """Description of the file; None if it is not of this kind.

        Raises UserError for a file of this kind that is damaged, malicious or of an unsupported variant.
        """
        ...

    def convert(self, found: Found, task: Task, encoder_path: Path | None = None) -> Imported:
        """The model in our format, for a task. Raises UserError if sizes do not fit or the encoder's file is missing."""
        ...
