"""Fitting of a linear readout of the task's state observation, on simulator states that a model encodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from world_models.adapters.readout import LinearReadout, ridge, take_readout
from world_models.base import WorldModel
from world_models.errors import require
from world_models.sensors import Sensors
from world_models.tasks.base import Task

STATES, HELD_OUT = 1024, 256
"""Numbers of simulator states for fitting and for reporting the error."""
LARGEST_STATE = 4096
"""Largest number of state features for which ridge regression is still fast."""
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Ridge penalties tried; the one with the least error on a validation part of the states is used."""
SEED = 20_011


@dataclass(frozen=True)
class Readout:
    """A fitted readout: its tensors, and the mean pose errors on held-out states."""

    tensors: Mapping[str, Tensor]
    errors: Mapping[str, float]
    penalty: float

    def as_card(self) -> dict[str, object]:
        """The entry of a model card."""
        return {"states": STATES, "penalty": self.penalty, "error": dict(self.errors)}


def fit_readout(model: WorldModel, sensors: Sensors, task: Task, states: int = STATES) -> Readout:
    """The best linear readout; raises UserError for a model whose states are too large."""
    size = int(np.prod(model.state_shape))
    require(size <= LARGEST_STATE, f"a readout of states with {size} features is too large: import without --readout.")
    rng = np.random.default_rng(SEED)
    per_run = 8
    runs, _ = task.sample(rng, (states + HELD_OUT) // per_run, 10 * per_run)
    drawn = runs[:, 1 : 10 * per_run : 10].reshape(-1, runs.shape[-1])
    drawn = drawn[rng.permutation(len(drawn))]
    encoded = sensors.encode(model, task, drawn).flatten(1).cpu()
    observed = torch.as_tensor(task.observe(drawn))
    fit, test = slice(0, len(drawn) - HELD_OUT), slice(len(drawn) - HELD_OUT, None)
    inner = slice(0, fit.stop * 3 // 4)
    aside = slice(inner.stop, fit.stop)

    def miss(penalty: float) -> float:
        tensors = ridge(encoded[inner], observed[inner], penalty)
        return float(((_read(tensors, encoded[aside]) - observed[aside]) / observed.std(0).clamp_min(1e-9)).square().mean())

    penalty = min(PENALTIES, key=miss)
    tensors = ridge(encoded[fit], observed[fit], penalty)
    read = task.pose(_read(tensors, encoded[test]).numpy())
    errors = task.pose_errors(read, task.pose(observed[test].numpy()))
    return Readout(tensors, {name: float(np.mean(values)) for name, values in errors.items()}, penalty)


def _read(tensors: Mapping[str, Tensor], states: Tensor) -> Tensor:
    readout = take_readout(dict(tensors))
    assert isinstance(readout, LinearReadout)
    return readout(states.float()).double()
