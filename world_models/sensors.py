"""Inputs of a world model: state observations, or images with or without proprioception."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from world_models.base import PixelObservation, WorldModel
from world_models.errors import UnknownNameError, UserError, require
from world_models.precision import matmul_precision
from world_models.tasks import Task
from world_models.tasks.base import Visible
from world_models.tasks.recorded.pictures import as_pictures

KINDS = ("state", "pixels")
"""Kinds of observation that a model may take."""

PICTURES_AT_ONCE = 256
"""Images encoded in one call, which bounds the memory of large encoders."""


@dataclass(frozen=True)
class Sensors:
    """The observations that a model takes; state models take the task's state observations.

    Raises UserError for an unknown kind, a size below 1 or a negative number of features.
    """

    kind: str = "state"
    """One of `KINDS`."""
    size: int = 64
    """Side of the images, px."""
    proprioception: int = 0
    """Number of proprioception features that the model takes."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownNameError("kind of sensors", self.kind, KINDS)
        require(self.size >= 1, f"sensors size {self.size} is below 1: give the side of the images in px.")
        require(self.proprioception >= 0, f"sensors proprioception {self.proprioception} is negative: give a number >= 0.")

    def observe(
        self,
        task: Task,
        states: Float[np.ndarray, "n simulator_state"],
        device: torch.device,
        dtype: torch.dtype,
        pictures: UInt8[np.ndarray, "n height width 3"] | None = None,
    ) -> Float[Tensor, "n observation"] | PixelObservation:
        """The model's observations of simulator states; a pixel model sees recorded `pictures` of them where they are given."""
        if self.kind == "state":
            return torch.as_tensor(task.observe(states), dtype=dtype, device=device)
        seen = self._drawn(task, states) if pictures is None else as_pictures(pictures, self.size)
        felt = np.zeros((len(states), 0))
        if self.proprioception:
            assert isinstance(task, Visible)
            felt = task.proprioception(states)[:, : self.proprioception]
        return PixelObservation(torch.from_numpy(seen).to(device), torch.as_tensor(felt, dtype=dtype, device=device))

    def _drawn(self, task: Task, states: Float[np.ndarray, "n simulator_state"]) -> UInt8[np.ndarray, "n size size 3"]:
        require(isinstance(task, Visible), f"task {task.name!r} renders no images: choose a state model for it.")
        assert isinstance(task, Visible)
        return task.pixels(states, self.size)

    def encode(
        self,
        model: WorldModel,
        task: Task,
        states: Float[np.ndarray, "n simulator_state"],
        pictures: UInt8[np.ndarray, "n height width 3"] | None = None,
    ) -> Float[Tensor, "n *state"]:
        """Model states of simulator states, without gradients and in full precision, because planners start from them.

        A pixel model sees recorded `pictures` of them where they are given. Raises UserError for a model that makes states of
        another shape or type than it says.
        """
        at_once = len(states) if self.kind == "state" else PICTURES_AT_ONCE
        with torch.no_grad(), matmul_precision("highest", model.device):
            parts = [
                model.encode(
                    self.observe(task, states[part], model.device, model.dtype, None if pictures is None else pictures[part])
                )
                for part in (slice(first, first + at_once) for first in range(0, len(states), max(at_once, 1)))
            ]
        encoded, shape = torch.cat(parts), (len(states), *model.state_shape)
        require(
            tuple(encoded.shape) == shape and encoded.dtype == model.dtype,
            f"{type(model).__name__} encodes states {tuple(encoded.shape)} in {encoded.dtype}, not {shape} in {model.dtype}: "
            f"let its state_shape and dtype fit what it makes of observations of task {task.name!r}.",
        )
        return encoded

    def check(self, task: Task, name: object, recorded: bool = False) -> None:
        """Raise UserError unless the task has the images and proprioception that the model called `name` takes.

        Images that are `recorded` need no task that renders them.
        """
        if self.kind == "state":
            return
        require(
            recorded or isinstance(task, Visible),
            f"world model {name!r} needs images, and task {task.name!r} renders none: choose a state model, or take recorded "
            "ones with problems.pictures=COLUMN.",
        )
        felt = task.proprioception_dim if isinstance(task, Visible) else 0
        require(
            self.proprioception in (0, felt),
            f"world model {name!r} takes {self.proprioception} proprioception features, and task {task.name!r} has {felt}: "
            "choose the task that it was trained on.",
        )

    def as_card(self) -> Mapping[str, object]:
        """The entry of a model card."""
        return asdict(self)

    @staticmethod
    def of(card: Mapping[str, object]) -> Sensors:
        """Sensors from a model card; a card without an entry is a state model's. Raises UserError for an invalid entry."""
        entry = card.get("sensors", {})
        try:
            return Sensors(**entry)  # pyright: ignore[reportCallIssue]
        except TypeError as error:
            raise UserError(f"sensors {entry!r} of a model card are not kind, size and proprioception.") from error


STATE = Sensors()
"""Sensors of a state model."""
