"""A wrapper around every environment that is driven, and a mend of one package of environments."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import count
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import seeding


class Driven(gymnasium.Wrapper):
    """An environment that knows how it came to its state, and whose reset depends on its seed alone where that can be had.

    Some environments draw their start from the generators that NumPy and Python share, or from their action space (OGBench's
    cubes from both), where Gymnasium's seed does not reach: those are seeded for the reset, and given back unchanged. Some
    keep an action over a reset and draw it (gym-pusht): numbers that stand where nothing stood after the first reset are
    removed.
    """

    seen: Any = None
    """The last observation."""
    begun: int | None = None
    """Seed of the last reset."""
    steps = 0
    """Steps since then."""
    empty: tuple[str, ...] | None = None
    """Attributes of the unwrapped environment that held nothing after the first reset."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset with a seed."""
        self.begun, self.steps = None, 0
        with _seeded(self.env, seed):
            self.seen, info = self.env.reset(seed=seed, options=options)
        held = vars(self.env.unwrapped)
        if self.empty is None:
            self.empty = tuple(name for name, value in held.items() if value is None)
        for name in self.empty:
            if isinstance(held.get(name), np.ndarray | np.generic | int | float):
                held[name] = None
        self.begun = seed
        return self.seen, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take an action."""
        self.steps += 1
        self.seen, reward, terminated, truncated, info = self.env.step(action)
        return self.seen, reward, terminated, truncated, info


@contextmanager
def _seeded(env: Any, seed: int | None) -> Iterator[None]:
    """Within it, the generators that NumPy and Python share are as after seeding, and so are those of the environment's spaces.

    Spaces that are made within it get seeds one after another. Without a seed all are left alone.
    """
    if seed is None:
        yield
        return
    ours, theirs, make = random.getstate(), np.random.get_state(), seeding.np_random
    later = count()

    def seeded(given: int | None = None) -> Any:
        """A generator, which has a seed of its own where none is given."""
        return make(int(np.random.SeedSequence([seed, next(later)]).generate_state(1)[0]) if given is None else given)

    random.seed(seed)
    np.random.seed(seed % 2**32)
    seeding.np_random = seeded
    try:
        env.unwrapped.action_space.seed(seed)
        yield
    finally:
        seeding.np_random = make
        random.setstate(ours)
        np.random.set_state(theirs)


def mend_joint_types() -> None:
    """Let gymnasium-robotics compare MuJoCo's joint types as numbers, within its own helpers.

    They ask whether a number is in a pair of types, and MuJoCo's types no longer equal NumPy's numbers: without this, every
    Fetch and Hand environment fails in an assertion (gymnasium-robotics 1.4.2 with MuJoCo 3.17 and 4.0).
    """
    mujoco: Any = import_module("mujoco")
    types = mujoco.mjtJoint
    if np.int32(int(types.mjJNT_SLIDE)) in (types.mjJNT_SLIDE,):
        return
    helpers: Any = import_module("gymnasium_robotics.utils.mujoco_utils")
    plain = SimpleNamespace(**{name: int(value) for name, value in types.__members__.items()})
    helpers.mujoco = SimpleNamespace(**{**vars(mujoco), "mjtJoint": plain})
