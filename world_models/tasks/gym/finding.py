"""Finding the best way to take an environment's states: each is tried, and kept only if it is exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from world_models.errors import UserError, require
from world_models.seeding import stable_rng
from world_models.tasks.gym.making import make_env, reason
from world_models.tasks.gym.simulator import TOLERANCE, Interface, Simulator, quiet
from world_models.tasks.gym.spaces import actions_of, check_picture, info_numbers, observation_of
from world_models.tasks.gym.states.keepers import (
    INTEGRATION,
    PHYSICS,
    AttributeKeeper,
    CallableKeeper,
    Keeper,
    MujocoKeeper,
    ReplayKeeper,
    declared_callables,
    mujoco_buffers,
)
from world_models.tasks.gym.states.packing import Form, PackingError, form_of, pack

STATES = ("auto", "mujoco", "attribute", "callables", "replay")
"""Ways of taking states; `auto` takes the first that is exact."""
CHECKED_STEPS = 30
"""Steps of the trajectory on which exactness is checked, from its start and from two states in its middle."""
MIDDLES = (0, 7, 15)
MOST_NUMBERS = 4096
"""Largest attribute that counts as part of a state."""
SEED_ATTRIBUTE = "_np_random_seed"
"""Gymnasium's record of the seed, which nothing depends on."""


@dataclass(frozen=True)
class Source:
    """Everything that determines an environment and how its states are taken."""

    name: str
    kwargs: str
    keys: tuple[str, ...] | None
    verdict: str
    state: str
    longest: int
    get_state: Callable[[Any], Any] | None = None
    set_state: Callable[[Any, Any], object] | None = None
    picture: str | None = None
    info: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Found:
    """The way in which states are taken."""

    kind: str
    """One of `STATES` without `auto`."""
    make: Callable[[Any, Interface], Keeper]
    """Makes its keeper for an environment."""


def simulator_of(source: Source) -> tuple[Simulator, str]:
    """A simulator of its own, and the kind of its states. Raises UserError where the environment cannot be driven exactly."""
    found = found_state(source)
    env = make_env(source.name, source.kwargs)
    interface = interface_of(source, env)
    return Simulator(env, interface, found.make(env, interface)), found.kind


def interface_of(source: Source, env: Any, keys: tuple[str, ...] | None = None) -> Interface:
    """How an environment is read and driven. Raises UserError for spaces that this task does not take."""
    with quiet():
        observed, taken = env.observation_space, env.action_space
        info = env.reset(seed=0)[1] if source.info else {}
    numbers = info_numbers(source.name, info, source.info or ())
    observation = observation_of(source.name, observed, keys or source.keys, numbers, source.verdict != TOLERANCE)
    if source.picture is not None:
        check_picture(source.name, observed, source.picture)
    return Interface(source.name, observation, actions_of(source.name, taken), source.verdict, source.picture)


@lru_cache(maxsize=32)
def found_state(source: Source) -> Found:
    """The way in which states of an environment are taken, tried once per process. Raises UserError if none is exact."""
    env, other = make_env(source.name, source.kwargs), make_env(source.name, source.kwargs)
    errors: dict[str, str] = {}
    interface = interface_of(source, env, _compared_keys(source, env))
    for found in _candidates(source, env):
        try:
            error = _error(found, env, other, interface, min(CHECKED_STEPS, source.longest))
        except PackingError as refusal:
            errors[found.kind] = str(refusal)
            continue
        except UserError:
            raise
        except Exception as failure:
            raise UserError(
                f"{source.name} fails when its states are taken by {found.kind} ({reason(failure)}): mend the environment, or "
                "choose another state."
            ) from failure
        if error == 0.0:
            return found
        errors[found.kind] = f"off by {error:.2g}"
    raise UserError(_refusal(source, errors))


def _compared_keys(source: Source, env: Any) -> tuple[str, ...] | None:
    """Keys that must be restored: those that are observed, and all vectors where the environment judges by what it hides."""
    from gymnasium.spaces import Box, Dict

    with quiet():
        space = env.observation_space
    if source.verdict == TOLERANCE or not isinstance(space, Dict):
        return source.keys
    spaces = space.spaces
    return tuple(key for key, box in spaces.items() if isinstance(box, Box) and len(box.shape) == 1)


def _candidates(source: Source, env: Any) -> Iterator[Found]:
    """The ways that were asked for, the best first."""
    auto = source.state == "auto"
    wanted = STATES[1:] if auto else (source.state,)
    if source.picture is not None:
        # An observation comes of a reset or a step only.
        require(
            auto or source.state == "replay",
            f"the pictures that {source.name} observes as {source.picture!r} are had by replay only, not by state "
            f"{source.state}: choose state auto, or leave `picture` out for those that it renders.",
        )
        wanted = ("replay",)
    if "mujoco" in wanted and (not auto or mujoco_buffers(env) is not None):
        for how in (
            (PHYSICS, False, False),
            (INTEGRATION, False, False),
            (INTEGRATION, True, False),
            (INTEGRATION, True, True),
        ):
            yield Found("mujoco", lambda e, _, how=how: MujocoKeeper(e, *how))
    given = (source.get_state, source.set_state) if source.get_state and source.set_state else None
    if given is not None and "callables" in wanted:
        yield Found("callables", lambda e, _: CallableKeeper(e, *given))
    if "attribute" in wanted:
        forms = changing_attributes(env, interface_of(source, env))
        if forms or not auto:
            yield Found("attribute", lambda e, _: AttributeKeeper(e, forms))
    declared = declared_callables(env)
    if given is None and "callables" in wanted:
        if declared is not None:
            yield Found("callables", lambda e, _: CallableKeeper(e, *declared))
        elif not auto:
            raise UserError(f"{source.name} declares no get_state() and set_state(state): give them, or choose another state.")
    if "replay" in wanted:
        yield Found("replay", lambda e, interface: _replay(e, interface, source.longest))


def _replay(env: Any, interface: Interface, longest: int) -> ReplayKeeper:
    return ReplayKeeper(env, lambda a: env.step(interface.actions.of(a)), interface.actions.size, longest)


def changing_attributes(env: Any, interface: Interface) -> dict[str, tuple[Form, ...]]:
    """The unwrapped environment's attributes that hold numbers and change within two short episodes, with their forms."""
    seen: list[dict[str, tuple[Form, bytes]]] = []
    with quiet():
        for seed in (1, 2):
            env.reset(seed=seed)
            seen.append(_numbers(env))
            for action in _actions(interface.actions.size, 5):
                env.step(interface.actions.of(action))
                seen.append(_numbers(env))
    names = sorted(set.intersection(*(set(numbers) for numbers in seen)))
    changing = [name for name in names if len({numbers[name][1] for numbers in seen}) > 1]
    return {name: tuple(dict.fromkeys(numbers[name][0] for numbers in seen)) for name in changing}


def _numbers(env: Any) -> dict[str, tuple[Form, bytes]]:
    """Form and bytes of each attribute that is made of numbers."""
    found = {}
    for name, value in vars(env.unwrapped).items():
        try:
            form = form_of(value)
            if name != SEED_ATTRIBUTE and 0 < form.size <= MOST_NUMBERS:
                found[name] = form, pack(value, form).tobytes()
        except PackingError:
            continue
    return found


def _actions(size: int, steps: int) -> Float[np.ndarray, "time action"]:
    return stable_rng("gymnasium exactness", size, steps).uniform(-1.0, 1.0, (steps, size))


def _error(found: Found, env: Any, other: Any, interface: Interface, steps: int) -> float:
    """Largest difference between a trajectory and what another environment makes of its states, infinite for odd sizes."""
    with quiet():
        env.reset(seed=11)
        other.reset(seed=23)
        here = Simulator(env, interface, found.make(env, interface))
        there = Simulator(other, interface, found.make(other, interface))
    actions = _actions(interface.actions.size, steps)
    start = here.reset(11)
    # Another environment begins in the same state, whatever it did before.
    there.run(there.reset(23), actions[:3])
    worst = float(np.abs(there.reset(11) - start).max(initial=0.0))
    with quiet():
        states = [start]
        for action in actions:
            features = here.step(action)
            here.keeper.note(action)
            states.append(np.concatenate([features, here.keeper.save()]))
    for middle in (middle for middle in MIDDLES if middle < steps):
        there.run(there.reset(23), actions[:1])
        again = there.run(states[middle], actions[middle:])
        worst = max(worst, float(np.abs(again - np.stack(states[middle:])).max(initial=0.0)))
    return worst if np.isfinite(worst) else np.inf


def _refusal(source: Source, errors: dict[str, str]) -> str:
    tried = "; ".join(f"{kind}: {said}" for kind, said in errors.items())
    if source.state == "auto" or source.state == "replay":
        return (
            f"the states of {source.name} cannot be restored exactly ({tried}): it needs random numbers that only reset(seed) "
            "determines and no hidden state, or the functions get_state and set_state."
        )
    return (
        f"the states of {source.name} cannot be restored exactly ({tried}): choose state auto, or give get_state and set_state."
    )
