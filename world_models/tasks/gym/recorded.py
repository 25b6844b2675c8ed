"""States of an environment from recorded rows: their observations, and the positions or attributes that they determine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from world_models.tasks.base import last_word
from world_models.tasks.gym.presets import plain_name
from world_models.tasks.gym.simulator import Simulator, quiet
from world_models.tasks.gym.states.keepers import RESET_SEED, mujoco_buffers

RESTORED_FROM = (
    "simulator_state, observations with qpos and qvel (MuJoCo) or of Gymnasium's classic control, or episodes with the seeds "
    "of their resets"
)

Rows = Mapping[str, Shaped[np.ndarray, "n *shape"]]


def _angles(seen: Float[np.ndarray, " observation"], pairs: int) -> list[float]:
    """Angles of pairs of a cosine and a sine, and what follows them."""
    return [*(float(np.arctan2(seen[2 * k + 1], seen[2 * k])) for k in range(pairs)), *seen[2 * pairs :].tolist()]


ATTRIBUTE: dict[str, Callable[[Float[np.ndarray, " observation"]], list[float]]] = {
    "Pendulum": lambda seen: _angles(seen, 1),
    "Acrobot": lambda seen: _angles(seen, 2),
    "CartPole": lambda seen: seen.tolist(),
    "MountainCar": lambda seen: seen.tolist(),
    "MountainCarContinuous": lambda seen: seen.tolist(),
}
"""The attribute `state` of environments whose observation determines it, by the beginning of their ids."""


def states_of_rows(
    simulator: Simulator, name: str, columns: Rows, observations: Float[np.ndarray, "n observation"] | None
) -> Float[np.ndarray, "n state"] | None:
    """States of rows; None if their columns do not determine them."""
    if any(last_word(key) == "simulator_state" for key in columns):
        whole = _column(columns, "simulator_state", len(simulator.reset(RESET_SEED)))
        if whole is not None:
            return whole
    if observations is None:
        return None
    positions = _positions(simulator.env, columns)
    if positions is not None:
        return _restored(simulator, observations, lambda row: _set_positions(simulator.env, *(each[row] for each in positions)))
    attribute = ATTRIBUTE.get(plain_name(name))
    if attribute is not None and observations.shape[1] == simulator.env.observation_space.shape[0]:
        return _restored(simulator, observations, lambda row: _set_attribute(simulator.env, attribute(observations[row])))
    return None


def _column(columns: Rows, name: str, size: int) -> Float[np.ndarray, "n size"] | None:
    """The column whose name is, or ends in, a word, if it has the right size."""
    for key, values in columns.items():
        if last_word(key) == name and values.reshape(len(values), -1).shape[1] == size:
            return values.reshape(len(values), -1).astype(np.float64)
    return None


def _positions(env: Any, columns: Rows) -> Sequence[Float[np.ndarray, "n size"]] | None:
    """Positions and velocities for MuJoCo's buffers; None where there are none."""
    buffers = mujoco_buffers(env)
    if buffers is None:
        return None
    model, _ = buffers
    found = _column(columns, "qpos", model.nq), _column(columns, "qvel", model.nv)
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def _restored(
    simulator: Simulator, observations: Float[np.ndarray, "n observation"], put: Callable[[int], None]
) -> Float[np.ndarray, "n state"]:
    """The states of rows, into each of which `put` puts the environment after a reset."""
    states = []
    with quiet():
        for row, seen in enumerate(observations):
            simulator.env.reset(seed=RESET_SEED)
            simulator.keeper.begin(RESET_SEED)
            put(row)
            states.append(np.concatenate([seen, simulator.keeper.save()]))
    return np.stack(states)


def _set_positions(env: Any, positions: Float[np.ndarray, " nq"], velocities: Float[np.ndarray, " nv"]) -> None:
    import mujoco

    of: Any = mujoco
    buffers = mujoco_buffers(env)
    assert buffers is not None
    model, data = buffers
    data.qpos[:], data.qvel[:] = positions, velocities
    of.mj_forward(model, data)


def _set_attribute(env: Any, values: list[float]) -> None:
    held = env.unwrapped.state
    kind = held.dtype if isinstance(held, np.ndarray) else np.float64
    env.unwrapped.state = np.array(values, dtype=kind)
