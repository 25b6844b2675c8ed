"""One environment that is put into any state and stepped from there: rows of states in, rows of states out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from world_models.errors import UserError
from world_models.tasks.gym.spaces import Actions, Observation
from world_models.tasks.gym.states.keepers import Keeper

TOLERANCE, TERMINATED = "tolerance", "terminated"
"""Success tests that need no key of `info`."""
VERDICT = "success"
"""Name of the feature that holds the environment's own verdict."""

Policy = Callable[[Float[np.ndarray, " observation"]], Float[np.ndarray, " action"]]
"""Gives the values in [-1, 1] of the next action; of classes, the first largest is taken."""


@dataclass(frozen=True)
class Interface:
    """The features that are read of an environment, and the actions that it takes."""

    name: str
    observation: Observation
    actions: Actions
    verdict: str = TOLERANCE
    """`terminated` or a key of `info` that becomes the last feature; `tolerance` if neither does."""
    picture: str | None = None
    """Key of the observed pictures, or `observation` where nothing else is observed; None if they are rendered."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, the verdict's among them."""
        return self.observation.names + ((VERDICT,) if self.verdict != TOLERANCE else ())

    def features(self, observed: Any, terminated: bool, info: Mapping[str, Any]) -> Float[np.ndarray, " observation"]:
        """The features after a step. Raises UserError where `info` lacks the verdict's key."""
        features = self.observation.of(observed, info)
        if self.verdict == TOLERANCE:
            return features
        if self.verdict != TERMINATED and self.verdict not in info:
            raise UserError(
                f"{self.name} gives no {self.verdict!r} in info, which is to tell success: it has {sorted(info) or 'nothing'}."
            )
        verdict = terminated if self.verdict == TERMINATED else bool(info[self.verdict])
        return np.append(features, float(verdict))


class Simulator:
    """Steps one environment from any of its states, a row at a time. A state is `[features | snapshot]`."""

    def __init__(self, env: Any, interface: Interface, keeper: Keeper) -> None:
        self.env, self.interface, self.keeper = env, interface, keeper
        self.size = len(interface.names)
        """Number of features."""

    def reset(self, seed: int) -> Float[np.ndarray, " state"]:
        """The state after a reset, whose verdict is that nothing is reached yet."""
        with quiet():
            observed, info = self.env.reset(seed=seed)
        self.keeper.begin(seed)
        verdict = {} if self.interface.verdict in (TOLERANCE, TERMINATED) else {self.interface.verdict: False}
        return np.concatenate([self.interface.features(observed, False, {**verdict, **info}), self.keeper.save()])

    @cached_property
    def varies(self) -> bool:
        """Whether resets with different seeds give different states."""
        return not np.array_equal(self.reset(1), self.reset(2))

    def run(
        self, state: Float[np.ndarray, " state"], actions: Float[np.ndarray, "time action"]
    ) -> Float[np.ndarray, "time_plus_one state"]:
        """States before and after each action, which is clipped to [-1, 1]."""
        result = np.empty((len(actions) + 1, len(state)))
        result[0] = state
        if not len(actions):
            return result
        with quiet():
            self.keeper.restore(state[self.size :])
            for t, action in enumerate(np.clip(actions, -1.0, 1.0)):
                result[t + 1, : self.size] = self.step(action)
                self.keeper.note(action)
                result[t + 1, self.size :] = self.keeper.save()
        return result

    def follow(
        self, state: Float[np.ndarray, " state"], policy: Policy, length: int
    ) -> tuple[Float[np.ndarray, "time_plus_one state"], Float[np.ndarray, "time action"]]:
        """States before and after each action of a policy, and these actions, which lead through the same states in `run`."""
        states, actions = np.empty((length + 1, len(state))), np.empty((length, self.interface.actions.size))
        states[0] = state
        with quiet():
            self.keeper.restore(state[self.size :])
            for t in range(length):
                action = actions[t] = self.interface.actions.taken(policy(states[t, : self.size]))
                states[t + 1, : self.size] = self.step(action)
                self.keeper.note(action)
                states[t + 1, self.size :] = self.keeper.save()
        return states, actions

    def step(self, action: Float[np.ndarray, " action"]) -> Float[np.ndarray, " observation"]:
        """Features after one action; the end of an episode is passed over."""
        observed, _, terminated, _, info = self.env.step(self.interface.actions.of(action))
        return self.interface.features(observed, bool(terminated), info)

    def show(self, state: Float[np.ndarray, " state"]) -> Any:
        """The environment's picture of a state."""
        with quiet():
            self.keeper.restore(state[self.size :])
            picture, seen = self.interface.picture, self.env.seen
            if picture is not None:
                return seen[picture] if isinstance(seen, Mapping) else seen
            self.keeper.show()
            return self.env.render()


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings, such as that an episode has ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
