"""Episodes of tasks written as datasets, in the units of their environments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from world_models.tasks import Task


def flat(values: np.ndarray) -> np.ndarray:
    """Rows of all episodes, one after the other."""
    return values.reshape(-1, *values.shape[2:])


def behaved(task: Task, episodes: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """States `[episodes, length + 1, state]` of the task's own behaviour, and its actions with NaN in the last row."""
    states, actions = task.sample(np.random.default_rng(0), episodes, length)
    nothing = np.full_like(actions[:, :1], np.nan)
    return states, np.concatenate([actions, nothing], axis=1)


def write_swm(path: Path, columns: dict[str, np.ndarray]) -> Path:
    """An HDF5 file in stable-worldmodel's layout, of columns `[episodes, rows, feature]`."""
    episodes, rows = next(iter(columns.values())).shape[:2]
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[name] = flat(values)
        file["ep_len"] = np.full(episodes, rows)
        file["ep_offset"] = np.arange(episodes) * rows
    return path


def write_ogbench(path: Path, columns: dict[str, np.ndarray]) -> Path:
    """An npz file in OGBench's layout, without a last action."""
    episodes, rows = columns["observations"].shape[:2]
    terminals = np.zeros((episodes, rows), bool)
    terminals[:, -1] = True
    held = {name: flat(np.nan_to_num(values)) for name, values in columns.items()}
    np.savez(path, terminals=flat(terminals), **held)
    return path


def write_minari(folder: Path, observations: np.ndarray, actions: np.ndarray, seeds: Sequence[int] | None = None) -> Path:
    """A Minari dataset, by its own writer; the seeds are those of the resets."""
    import gymnasium as gym
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    (folder / "data").mkdir(parents=True)
    spaces = [gym.spaces.Box(-np.inf, np.inf, (values.shape[-1],), values.dtype.type) for values in (observations, actions)]
    storage = MinariStorage.new(folder / "data", *spaces, data_format="hdf5")
    steps = actions.shape[1]
    buffers = [
        EpisodeBuffer(
            id=number,
            seed=None if seeds is None else seeds[number],
            observations=observations[number],
            actions=actions[number],
            rewards=[0.0] * steps,
            terminations=[False] * steps,
            truncations=[step == steps - 1 for step in range(steps)],
        )
        for number in range(len(observations))
    ]
    storage.update_episodes(buffers)
    return folder
