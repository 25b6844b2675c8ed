"""Drawing problems that behaviour can solve and that doing nothing cannot."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from world_models.tasks.gym.behaviour import WARM_UP
from world_models.tasks.gym.simulator import Simulator

DRAWS = 200
"""Trajectories drawn before a horizon is refused."""

IsApart = Callable[[Float[np.ndarray, " state"], Float[np.ndarray, " state"]], bool]
"""Whether a state is a goal, and another one is far enough from it."""

Drawn = tuple[Float[np.ndarray, " state"], Float[np.ndarray, " state"], Float[np.ndarray, "time action"]]
"""Start, goal, and actions that lead from one to the other."""


Behave = Callable[
    [np.random.Generator, Float[np.ndarray, " state"], int],
    tuple[Float[np.ndarray, "time_plus_one state"], Float[np.ndarray, "time action"]],
]
"""Behaviour from a state over some steps: the states before and after each action, and the actions."""


def draw_problem(
    simulator: Simulator, behave: Behave, rng: np.random.Generator, horizon: int, is_apart: IsApart
) -> Drawn | None:
    """A trajectory whose end is apart from its start and from where null actions end; None if none of `DRAWS` is.

    Where every reset gives the same state (FetchReach), the start is where some steps of the behaviour lead.
    """
    for _ in range(DRAWS):
        start = simulator.reset(int(rng.integers(2**31 - 1)))
        if not simulator.varies:
            start = behave(rng, start, int(rng.integers(1, WARM_UP + 1)))[0][-1]
        states, actions = behave(rng, start, horizon)
        goal = states[-1]
        if is_apart(goal, start) and is_apart(goal, simulator.run(start, np.zeros_like(actions))[-1]):
            return start, goal, actions
    return None
