"""Scripted behaviour in [-1, 1] from which goals and training data come."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from world_models.seeding import smooth_noise
from world_models.tasks.base import DISCRETE
from world_models.tasks.gym.spaces import Actions

BEHAVIOURS = ("random", "smooth", "hold")
"""Blind behaviour: independent actions, actions that drift (correlation 0.9 over a step), and actions held for a while."""
SCRIPTED = "scripted"
"""Name of behaviour that sees what is observed (`scripts.py`)."""
SPREAD = 0.7
"""Standard deviation of drifting actions, before they are clipped."""
WEAKEST = 0.05
"""Smallest scale of training behaviour; half of it is scaled, evenly on a logarithmic scale."""
WARM_UP = 50
"""Most steps before the start of training behaviour."""
LONGEST_HOLD = 25
"""Most steps for which an action is held."""


def behave(
    rng: np.random.Generator, kind: str, actions: Actions, count: int, length: int, strength: float = 1.0
) -> Float[np.ndarray, "count length action"]:
    """Actions of a blind behaviour, scaled by its strength; of classes, the one taken has 1 and all others have -1."""
    shape = (count, length, actions.size)
    match kind:
        case "smooth":
            values = np.clip(SPREAD * smooth_noise(rng, *shape), -1.0, 1.0)
        case "hold":
            values = _held(rng, rng.uniform(-1.0, 1.0, shape))
        case _:
            values = rng.uniform(-1.0, 1.0, shape)
    return actions.taken(values) if actions.kind == DISCRETE else strength * values


def _held(
    rng: np.random.Generator, values: Float[np.ndarray, "count length action"]
) -> Float[np.ndarray, "count length action"]:
    """The values, each kept for 1 to `LONGEST_HOLD` steps; half of the values are at their bounds."""
    extreme = np.where(rng.random(values.shape[:2])[..., None] < 0.5, np.sign(values), values)
    result = np.empty_like(values)
    for row in range(len(values)):
        t = 0
        while t < values.shape[1]:
            until = t + int(rng.integers(1, LONGEST_HOLD + 1))
            result[row, t:until] = extreme[row, t]
            t = until
    return result


def varied(rng: np.random.Generator, actions: Actions, count: int, length: int) -> Float[np.ndarray, "count length action"]:
    """Training behaviour: every kind in turn; of a box, weak and strong."""
    result = np.empty((count, length, actions.size))
    for i, kind in enumerate(BEHAVIOURS):
        rows = slice(i, None, len(BEHAVIOURS))
        result[rows] = behave(rng, kind, actions, len(result[rows]), length)
    if actions.kind == DISCRETE:
        return result
    weak = rng.random((count, 1, 1)) < 0.5
    return np.where(weak, result * WEAKEST ** rng.random((count, 1, 1)), result)
