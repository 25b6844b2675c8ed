"""Drawing problems that behaviour can solve and that doing nothing cannot."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from world_models.tasks.gym.behaviour import behave
from world_models.tasks.gym.simulator import Simulator

DRAWS = 200
"""Trajectories drawn before a horizon is refused."""

WARM_UP = 50
"""Most steps before a start, of training behaviour and where every reset gives the same state."""

IsApart = Callable[[Float[np.ndarray, " state"], Float[np.ndarray, " state"]], bool]
"""Whether a state is a goal, and another one is far enough from it."""

Drawn = tuple[Float[np.ndarray, " state"], Float[np.ndarray, " state"], Float[np.ndarray, "time action"]]
"""Start, goal, and actions that lead from one to the other."""


def draw_problem(
    simulator: Simulator, behaviour: tuple[str, float], rng: np.random.Generator, horizon: int, is_apart: IsApart
) -> Drawn | None:
    """A trajectory whose end is apart from its start and from where null actions end; None if none of `DRAWS` is.

    `behaviour` is its kind and the scale of its actions. Where every reset gives the same state (FetchReach), the start is
    where some steps of it lead.
    """
    (kind, strength), taken = behaviour, simulator.interface.actions
    for _ in range(DRAWS):
        start = simulator.reset(int(rng.integers(2**31 - 1)))
        if not simulator.varies:
            start = simulator.run(start, behave(rng, kind, taken, 1, int(rng.integers(1, WARM_UP + 1)), strength)[0])[-1]
        actions = behave(rng, kind, taken, 1, horizon, strength)[0]
        goal = simulator.run(start, actions)[-1]
        if is_apart(goal, start) and is_apart(goal, simulator.run(start, np.zeros_like(actions))[-1]):
            return start, goal, actions
    return None
