"""Ways of taking and restoring the state of an environment: MuJoCo's buffers, attributes, callables, or replay from a seed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from world_models.errors import UserError, require
from world_models.tasks.gym.states.packing import Form, PackingError, form_of, pack, unpack

RESET_SEED = 0
"""Seed of the resets before a state is restored: whatever the state leaves out is then the same for all."""


@runtime_checkable
class Keeper(Protocol):
    """Takes and restores states of one environment as float64 vectors of one size."""

    def begin(self, seed: int) -> None:
        """Take note that the environment was reset with a seed."""
        ...

    def note(self, action: Float[np.ndarray, " action"]) -> None:
        """Take note that an action in [-1, 1] was taken."""
        ...

    def save(self) -> Float[np.ndarray, " snapshot"]:
        """The state of the environment."""
        ...

    def restore(self, snapshot: Float[np.ndarray, " snapshot"]) -> None:
        """Put the environment into a state."""
        ...

    def show(self) -> None:
        """Compute what drawing needs besides the state."""
        ...


class _Plain:
    """A keeper that needs no history."""

    def begin(self, seed: int) -> None:
        """Do nothing."""

    def note(self, action: Float[np.ndarray, " action"]) -> None:
        """Do nothing."""

    def show(self) -> None:
        """Do nothing."""


_log = logging.getLogger(__name__)

PHYSICS, INTEGRATION = "physics", "integration"
"""Parts of MuJoCo's state: the physics with the solver's warm start and moving frames, or all that integration reads."""
FRAMES = ("xpos", "xquat", "xmat", "site_xpos", "site_xmat")
"""Positions of bodies and sites. After a step they are those before its last part, and some environments steer by them."""


class MujocoKeeper(_Plain):
    """MuJoCo's time, positions, velocities, activations, warm start and moving frames, read from its buffers."""

    def __init__(self, env: Any, parts: str = PHYSICS, forward: bool = False, frames: bool = False) -> None:
        """`forward` computes what depends on the state once it is restored, which some environments read before a step.

        With `frames` the positions of bodies and sites are kept as well.
        """
        import mujoco

        self._mujoco: Any = mujoco
        # Else MuJoCo writes a file into the current folder.
        self._mujoco.set_mju_user_warning(_log.warning)
        found = mujoco_buffers(env)
        require(found is not None, f"{_name(env)} keeps no MuJoCo model: choose another state than mujoco.")
        assert found is not None
        of = self._mujoco.mjtState
        physics = of.mjSTATE_FULLPHYSICS | of.mjSTATE_WARMSTART | of.mjSTATE_MOCAP_POS | of.mjSTATE_MOCAP_QUAT
        spec = int(physics if parts == PHYSICS else of.mjSTATE_INTEGRATION)
        self._env, (self._model, self._data), self._spec, self._forward = env, found, spec, forward
        self._size = int(self._mujoco.mj_stateSize(self._model, spec))
        self._frames = [getattr(self._data, name) for name in FRAMES] if frames else []

    def save(self) -> Float[np.ndarray, " snapshot"]:
        """The chosen parts of the state."""
        snapshot = np.empty(self._size)
        self._mujoco.mj_getState(self._model, self._data, snapshot, self._spec)
        return np.concatenate([snapshot, *(frame.ravel() for frame in self._frames)])

    def restore(self, snapshot: Float[np.ndarray, " snapshot"]) -> None:
        """Reset, and set the chosen parts."""
        self._env.reset(seed=RESET_SEED)
        self._mujoco.mj_setState(self._model, self._data, np.ascontiguousarray(snapshot[: self._size]), self._spec)
        if self._forward:
            self.show()
        first = self._size
        for frame in self._frames:
            frame[:] = snapshot[first : first + frame.size].reshape(frame.shape)
            first += frame.size

    def show(self) -> None:
        """Compute positions of bodies, for drawing."""
        self._mujoco.mj_forward(self._model, self._data)


class AttributeKeeper(_Plain):
    """The attributes of the unwrapped environment that hold numbers and change from step to step.

    Some change their form too (an array after a reset, a tuple after a step): the snapshot says which form it holds.
    """

    def __init__(self, env: Any, forms: Mapping[str, tuple[Form, ...]]) -> None:
        """`forms` has the forms that each attribute takes."""
        require(bool(forms), f"{_name(env)} has no attribute of numbers that changes: choose another state than attribute.")
        self._env, self._forms = env, forms
        self._sizes = {name: 1 + max(form.size for form in known) for name, known in forms.items()}

    def save(self) -> Float[np.ndarray, " snapshot"]:
        """For each attribute the index of its form, and its numbers."""
        held = vars(self._env.unwrapped)
        snapshot, first = np.zeros(sum(self._sizes.values())), 0
        for name, known in self._forms.items():
            form = form_of(held[name])
            if form not in known:
                raise PackingError(f"{_name(self._env)} changes the form of its attribute {name}: choose another state.")
            snapshot[first] = known.index(form)
            snapshot[first + 1 : first + 1 + form.size] = pack(held[name], form)
            first += self._sizes[name]
        return snapshot

    def restore(self, snapshot: Float[np.ndarray, " snapshot"]) -> None:
        """Reset, and set the attributes."""
        self._env.reset(seed=RESET_SEED)
        held, first = vars(self._env.unwrapped), 0
        for name, known in self._forms.items():
            form = known[int(snapshot[first])]
            held[name] = unpack(snapshot[first + 1 : first + 1 + form.size], form)
            first += self._sizes[name]


class CallableKeeper(_Plain):
    """A pair of functions: `get(env)` gives the state, and `set(env, state)` restores it."""

    def __init__(self, env: Any, get: Callable[[Any], Any], set_: Callable[[Any, Any], object]) -> None:
        self._env, self._get, self._set = env, get, set_
        try:
            self._form: Form = form_of(get(env))
        except PackingError as error:
            raise UserError(
                f"get_state of {_name(env)} gives a state that cannot be kept ({error}): give numbers, arrays, or lists and "
                "mappings of them."
            ) from error

    def save(self) -> Float[np.ndarray, " snapshot"]:
        """Numbers of the state."""
        return pack(self._get(self._env), self._form)

    def restore(self, snapshot: Float[np.ndarray, " snapshot"]) -> None:
        """Reset, and set the state."""
        self._env.reset(seed=RESET_SEED)
        self._set(self._env, unpack(snapshot, self._form))


class ReplayKeeper(_Plain):
    """The seed of the reset and the actions so far: states are restored by playing them again."""

    def __init__(self, env: Any, step: Callable[[Float[np.ndarray, " action"]], object], size: int, longest: int) -> None:
        """`step` takes an action in [-1, 1] with `size` values; `longest` is the most actions that a state holds.

        `env` is a `Driven` one, which tells how it came to its state.
        """
        self._env, self._step, self._size, self._longest = env, step, size, longest
        self._seed = 0
        self._actions: list[np.ndarray] = []

    def begin(self, seed: int) -> None:
        """Forget the actions."""
        self._seed, self._actions = seed, []

    def note(self, action: Float[np.ndarray, " action"]) -> None:
        """Remember an action. Raises UserError beyond the longest replay."""
        if len(self._actions) >= self._longest:
            raise UserError(
                f"{_name(self._env)} is replayed from its reset, and a state holds at most {self._longest} steps: "
                "give a longer `longest`, or get_state and set_state."
            )
        self._actions.append(np.array(action, dtype=np.float64))

    def save(self) -> Float[np.ndarray, " snapshot"]:
        """Seed, number of actions, actions, and zeros to the longest."""
        snapshot = np.zeros(2 + self._longest * self._size)
        snapshot[:2] = self._seed, len(self._actions)
        if self._actions:
            snapshot[2 : 2 + len(self._actions) * self._size] = np.concatenate(self._actions)
        return snapshot

    def restore(self, snapshot: Float[np.ndarray, " snapshot"]) -> None:
        """Reset with the seed and take the actions again, or only those that come after the ones taken just before."""
        seed, actions = int(snapshot[0]), snapshot[2:].reshape(-1, self._size)[: int(snapshot[1])]
        taken = len(self._actions)
        here = (self._env.begun, self._env.steps) == (seed, taken) and seed == self._seed
        if not (here and np.array_equal(np.array(self._actions).reshape(-1, self._size), actions[:taken])):
            self.begin(seed)
            self._env.reset(seed=seed)
            taken = 0
        for action in actions[taken:]:
            self._step(action)
            self.note(action)


def mujoco_buffers(env: Any) -> tuple[Any, Any] | None:
    """MuJoCo's model and data in an environment, or in one that it holds; None if there are none."""
    import gymnasium

    if "mujoco" not in _imported():
        return None
    import mujoco

    of: Any = mujoco
    held: Mapping[str, Any] = vars(env.unwrapped)
    inner = [vars(value.unwrapped) for value in held.values() if isinstance(value, gymnasium.Env)]
    for attributes in (held, *inner):
        models = [value for value in attributes.values() if isinstance(value, of.MjModel)]
        data = [value for value in attributes.values() if isinstance(value, of.MjData)]
        if models and data:
            return models[0], data[0]
    return None


def declared_callables(env: Any) -> tuple[Callable[[Any], Any], Callable[[Any, Any], object]] | None:
    """The `get_state()` and `set_state(state)` that the environment's class declares; None if it has no such pair."""
    kind = type(env.unwrapped)
    if not (callable(getattr(kind, "get_state", None)) and callable(getattr(kind, "set_state", None))):
        return None
    return (lambda e: e.unwrapped.get_state()), (lambda e, state: e.unwrapped.set_state(state))


def _imported() -> Mapping[str, Any]:
    import sys

    return sys.modules


def _name(env: Any) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__
