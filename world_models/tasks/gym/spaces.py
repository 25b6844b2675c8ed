"""Observations as flat float64 vectors, and actions in [-1, 1] as an environment takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from world_models.errors import UnknownNameError, UserError, require

GOALS = ("achieved_goal", "desired_goal")
"""Keys of a goal environment's observation that are left out unless they are asked for."""
MOST_FEATURES = 4096
"""Most features of an observation: larger ones are images."""
MOST_CLASSES = 1024
"""Most classes of a discrete action."""


@dataclass(frozen=True)
class Observation:
    """Flattened observations of an environment: a box (`keys` is empty), or the boxes of a dict in the order of `keys`."""

    keys: tuple[str, ...]
    names: tuple[str, ...]
    """One name per feature, such as `observation_3`."""

    def of(self, observed: Any) -> Float[np.ndarray, " observation"]:
        """The features of what the environment observed."""
        if not self.keys:
            return np.asarray(observed, dtype=np.float64).reshape(-1)
        return np.concatenate([np.asarray(observed[key], dtype=np.float64).reshape(-1) for key in self.keys])


def observation_of(env: str, space: Any, keys: tuple[str, ...] | None) -> Observation:
    """How to flatten observations of a space. Raises UserError for spaces and keys that are not boxes, and for images."""
    from gymnasium.spaces import Box, Dict

    if isinstance(space, Box):
        require(keys is None, f"keys {list(keys or ())} are given, but {env} observes a box without keys: leave them out.")
        return Observation((), _named(env, "observation", space))
    require(
        isinstance(space, Dict),
        f"{env} observes {_brief(space)}: this task takes a Box or a Dict of boxes, so wrap the environment to observe one.",
    )
    boxes = {key: box for key, box in space.spaces.items() if isinstance(box, Box)}
    for key in keys or ():
        if key not in boxes:
            raise UnknownNameError(f"observation key of {env}", key, boxes)
    kept = keys or tuple(key for key in boxes if key not in GOALS and np.prod(boxes[key].shape) <= MOST_FEATURES)
    require(bool(kept), f"{env} observes no box of numbers besides its goals: give keys, some of {sorted(boxes)}.")
    return Observation(kept, tuple(name for key in kept for name in _named(env, key, boxes[key])))


def _named(env: str, key: str, box: Any) -> tuple[str, ...]:
    size = int(np.prod(box.shape))
    require(
        size <= MOST_FEATURES,
        f"{env} observes {size} numbers as {key!r}, an image: choose an observation of at most {MOST_FEATURES}.",
    )
    return tuple(f"{key}_{i:d}" for i in range(size))


@dataclass(frozen=True)
class Actions:
    """Actions of an environment: `kind` is `box`, scaled to [-1, 1], or `discrete`, one value per class."""

    kind: str
    size: int
    """Number of values of an action; of a discrete one, the number of classes."""
    low: Any = None
    high: Any = None
    first: int = 0
    """A discrete space's first class."""

    def of(self, action: Float[np.ndarray, " action"]) -> Any:
        """The environment's action for values in [-1, 1]; a discrete one is the first class of largest value."""
        if self.kind == "discrete":
            return self.first + int(np.argmax(action))
        values = self.low + 0.5 * (action.reshape(self.low.shape) + 1.0) * (self.high - self.low)
        return np.clip(values, self.low, self.high).astype(self.low.dtype)

    def normalised(self, recorded: Shaped[np.ndarray, "n *shape"]) -> Float[np.ndarray, "n action"]:
        """Values in [-1, 1] for recorded actions of the environment; a class is 1, the others -1.

        Raises UserError for a recorded class that there is none of.
        """
        if self.kind == "discrete":
            classes = recorded.reshape(len(recorded)).astype(np.int64) - self.first
            odd = classes[(classes < 0) | (classes >= self.size)]
            last = self.first + self.size - 1
            require(not len(odd), f"recorded action {odd[:1] + self.first} is not one of the classes {self.first} to {last}.")
            return np.where(np.arange(self.size) == classes[:, None], 1.0, -1.0)
        low, high = (np.asarray(bound, np.float64).reshape(-1) for bound in (self.low, self.high))
        return (recorded.reshape(len(recorded), -1).astype(np.float64) - low) / (high - low) * 2.0 - 1.0


def actions_of(env: str, space: Any) -> Actions:
    """How to give actions to a space. Raises UserError for unbounded boxes and for spaces of other kinds."""
    from gymnasium.spaces import Box, Discrete

    if isinstance(space, Discrete):
        require(
            1 < int(space.n) <= MOST_CLASSES,
            f"{env} has {space.n} actions: this task takes 2 to {MOST_CLASSES}, one value per class.",
        )
        return Actions("discrete", int(space.n), first=int(space.start))
    require(
        isinstance(space, Box) and np.issubdtype(space.dtype, np.floating),
        f"{env} takes actions in {_brief(space)}: this task takes a bounded Box of floats or a Discrete space, so wrap the "
        "environment to take one.",
    )
    bounded = np.isfinite(space.low).all() and np.isfinite(space.high).all() and (space.low < space.high).all()
    require(
        bool(bounded),
        f"{env} takes actions without finite bounds ({_brief(space)}): give them bounds, such as with gymnasium's "
        "RescaleAction or a Box with finite low and high.",
    )
    return Actions("box", int(np.prod(space.shape)), space.low, space.high)


def _brief(space: object) -> str:
    text = " ".join(str(space).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def feature_indices(names: tuple[str, ...], features: tuple[int | str, ...], env: str) -> tuple[int, ...]:
    """Positions of features given by index or name. Raises UserError for unknown ones and for repetitions."""
    found = []
    for feature in features:
        if isinstance(feature, str):
            if feature not in names:
                raise UnknownNameError(f"feature of {env}", feature, names)
            found.append(names.index(feature))
        else:
            known = isinstance(feature, int) and not isinstance(feature, bool) and 0 <= feature < len(names)
            if not known:
                raise UserError(
                    f"feature {feature!r} of {env} is not an index from 0 to {len(names) - 1}: it observes {names}."
                )
            found.append(feature)
    require(
        len(set(found)) == len(found) > 0, f"features {list(features)} of {env} must be some, each once: it observes {names}."
    )
    return tuple(found)
