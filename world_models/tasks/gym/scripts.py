"""Scripted behaviour: policies that see the observation, for environments that no blind action sequence keeps going."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from world_models.tasks.gym.behaviour import WARM_UP, varied
from world_models.tasks.gym.presets import plain_name
from world_models.tasks.gym.simulator import Policy, Simulator

Script = Callable[[np.random.Generator], Policy]
"""Draws the policy of one trajectory, such as the place that it goes to."""

_GAINS = np.array([8.6, 10.6, 72.2, 17.4])
"""Linear-quadratic regulator of CartPole-v1 about the upright pole, with costs 1, 0.1, 10, 0.1 of m, m/s, rad, rad/s."""
_FARTHEST = 1.5
"""Largest distance of a place from the middle of CartPole's track, in m."""
_SLIPS = 0.3
"""Largest share of CartPole's steps that are taken at random."""
_BLIND = 4
"""One in so many trajectories goes on blindly from where the script leads."""


def balance_cart_pole(rng: np.random.Generator) -> Policy:
    """Balances CartPole's pole while the cart goes to a place drawn at random; up to half of the steps are random."""
    slips = rng.uniform(0.0, _SLIPS)
    place = np.array([rng.uniform(-_FARTHEST, _FARTHEST), 0.0, 0.0, 0.0])

    def policy(observed: Float[np.ndarray, " observation"]) -> Float[np.ndarray, " action"]:
        push = float(_GAINS @ (observed[:4] - place))
        if rng.random() < slips:
            push = rng.uniform(-1.0, 1.0)
        return np.array([-np.sign(push), np.sign(push)])

    return policy


SCRIPTS: Mapping[str, Script] = {"CartPole": balance_cart_pole}
"""Our scripts by the beginning of an id, as presets have it."""


def script_of(name: str) -> Script | None:
    """Our script for an id; None if there is none."""
    return SCRIPTS.get(plain_name(name))


def scripted(
    simulator: Simulator, script: Script, rng: np.random.Generator, count: int, length: int
) -> tuple[Float[np.ndarray, "count time_plus_one state"], Float[np.ndarray, "count length action"]]:
    """Training behaviour from where a script leads: three of four rows follow it further, the others go on blindly."""
    found = []
    for steps in rng.integers(WARM_UP, size=count):
        policy, start = script(rng), simulator.reset(int(rng.integers(2**31 - 1)))
        begun = simulator.follow(start, policy, int(steps))[0][-1]
        found.append(simulator.follow(begun, policy, length))
    states, actions = np.stack([one[0] for one in found]), np.stack([one[1] for one in found])
    actions[::_BLIND] = varied(rng, simulator.interface.actions, len(actions[::_BLIND]), length)
    for row in range(0, count, _BLIND):
        states[row] = simulator.run(states[row, 0], actions[row])
    return states, actions
