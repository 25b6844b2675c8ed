"""Small datasets of each kind, written by the format's own library, with the values that were written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from world_models.datasets import open_dataset
from world_models.testing.datasets import DatasetCase

LENGTHS = (7, 5, 12)


def values(lengths: tuple[int, ...] = LENGTHS, size: int = 16) -> list[dict[str, np.ndarray]]:
    """Episodes of random observations [rows, 4], actions [rows, 2] and pictures [rows, size, size, 3]."""
    rng, episodes = np.random.default_rng(0), []
    for length in lengths:
        shade = np.linspace(0, 255, size)[None, :, None] * np.ones((length, 1, size))
        picture = np.stack([shade, 255 - shade, np.full_like(shade, 20.0) + 10 * np.arange(length)[:, None, None]], -1)
        episodes.append(
            {
                "observation": rng.normal(size=(length, 4)).astype(np.float32),
                "action": rng.uniform(-1, 1, (length, 2)).astype(np.float32),
                "pixels": picture.astype(np.uint8),
            }
        )
    return episodes


def held(episodes: list[dict[str, np.ndarray]], **names: str) -> dict[str, list[np.ndarray]]:
    """The values under the names of a format: `actions="action"`; dots stand for slashes in names."""
    return {name.replace("__", "/"): [episode[key] for episode in episodes] for name, key in names.items()}


def arrow(folder: Path) -> DatasetCase:
    from world_models.datasets.arrow_writing import write_arrow

    episodes = values()
    write_arrow(folder / "made", episodes)
    truth = held(episodes, observation="observation", action="action", pixels="pixels")
    return DatasetCase(lambda: open_dataset(folder / "made"), truth)


def swm(folder: Path) -> DatasetCase:
    """stable-worldmodel's HDF5: its writer makes chunks of one row that grow with each episode."""
    import h5py

    episodes, file = values(), folder / "made.h5"
    with h5py.File(file, "w", libver="latest") as out:
        for name, array in episodes[0].items():
            out.create_dataset(
                name, (0, *array.shape[1:]), array.dtype, maxshape=(None, *array.shape[1:]), chunks=(1, *array.shape[1:])
            )
        out.create_dataset("instruction", (sum(LENGTHS),), h5py.string_dtype())
        for number, episode in enumerate(episodes):
            for name, array in episode.items():
                begin = len(out[name])
                out[name].resize(begin + len(array), axis=0)
                out[name][begin:] = array
            episode["ep_idx"] = np.full(len(array), number, np.int32)
        out["ep_idx"] = np.concatenate([episode["ep_idx"] for episode in episodes])
        out["ep_len"] = np.array(LENGTHS, np.int32)
        out["ep_offset"] = np.cumsum([0, *LENGTHS[:-1]])
    truth = held(episodes, observation="observation", action="action", pixels="pixels", ep_idx="ep_idx")
    return DatasetCase(lambda: open_dataset(file), truth)


def d4rl(folder: Path) -> DatasetCase:
    import h5py

    episodes, file = values(), folder / "made.hdf5"
    ends = np.cumsum(LENGTHS) - 1
    marks = np.zeros((2, sum(LENGTHS)), bool)
    marks[0, ends[0]] = marks[1, ends[1:]] = True
    with h5py.File(file, "w") as out:
        out["observations"] = np.concatenate([episode["observation"] for episode in episodes])
        out["actions"] = np.concatenate([episode["action"] for episode in episodes])
        out["infos/qpos"] = np.concatenate([episode["observation"] for episode in episodes])
        out["terminals"], out["timeouts"] = marks
        out.create_dataset("metadata/algorithm", data=np.bytes_("SAC"))
    truth = held(episodes, observations="observation", actions="action", infos__qpos="observation")
    return DatasetCase(lambda: open_dataset(file), truth)


def robomimic(folder: Path) -> DatasetCase:
    import h5py

    episodes, file = values(), folder / "made.hdf5"
    with h5py.File(file, "w") as out:
        data = out.create_group("data")
        data.attrs["env_args"] = '{"env_name": "Lift", "type": 1}'
        for number, episode in enumerate(episodes):
            group = data.create_group(f"demo_{number}")
            group.attrs["num_samples"] = len(episode["action"])
            group["actions"], group["states"] = episode["action"], episode["observation"]
            group.create_dataset("obs/agentview_image", data=episode["pixels"], compression="gzip")
    truth = held(episodes, actions="action", states="observation", obs__agentview_image="pixels")
    return DatasetCase(lambda: open_dataset(file), truth)


def ogbench(folder: Path) -> DatasetCase:
    """OGBench's writer: `numpy.savez_compressed` with `terminals` at the last row of each trajectory."""
    episodes, file = values(), folder / "made.npz"
    terminals = np.zeros(sum(LENGTHS), bool)
    terminals[np.cumsum(LENGTHS) - 1] = True
    flat = {name: np.concatenate([episode[name] for episode in episodes]) for name in episodes[0]}
    np.savez_compressed(
        file, observations=flat["observation"], actions=flat["action"], terminals=terminals, qpos=flat["pixels"]
    )
    return DatasetCase(lambda: open_dataset(file), held(episodes, observations="observation", actions="action", qpos="pixels"))


def stored_npz(folder: Path) -> DatasetCase:
    """Arrays that are not compressed are mapped."""
    episodes, file = values(), folder / "made.npz"
    flat = {name: np.concatenate([episode[name] for episode in episodes]) for name in episodes[0]}
    np.savez(file, episode_ends=np.cumsum(LENGTHS), **{**flat, "action": np.asfortranarray(flat["action"])})
    return DatasetCase(lambda: open_dataset(file), held(episodes, observation="observation", action="action", pixels="pixels"))


def minari(folder: Path, data_format: str, pictures: bool = False) -> DatasetCase:
    """Minari's own writer, from buffers of episodes."""
    import gymnasium as gym
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    episodes = values(size=64)
    box = gym.spaces.Box(-9, 9, (4,), np.float32)
    space = gym.spaces.Dict({"body": box, "camera": gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)}) if pictures else box
    (folder / "made" / "data").mkdir(parents=True)
    storage = MinariStorage.new(
        folder / "made" / "data", space, gym.spaces.Box(-1, 1, (2,), np.float32), data_format=data_format
    )

    def buffer(number: int, episode: dict[str, np.ndarray]) -> EpisodeBuffer:
        steps = len(episode["action"]) - 1
        observations = {"body": episode["observation"], "camera": episode["pixels"]} if pictures else episode["observation"]
        flags = [step == steps - 1 for step in range(steps)]
        return EpisodeBuffer(
            id=number,
            seed=number,
            observations=observations,
            actions=episode["action"][:-1],
            rewards=[float(step) for step in range(steps)],
            terminations=flags,
            truncations=[False] * steps,
        )

    storage.update_episodes([buffer(number, episode) for number, episode in enumerate(episodes)])
    for episode in episodes:
        episode["action"] = episode["action"][:-1]
        episode["reward"] = np.arange(len(episode["action"]), dtype=np.float64)
    names = {"actions": "action", "rewards": "reward"}
    names |= (
        {"observations__body": "observation", "observations__camera": "pixels"} if pictures else {"observations": "observation"}
    )
    return DatasetCase(lambda: open_dataset(folder / "made"), held(episodes, **names), {"observations/camera": 8.0})


MAKERS: dict[str, Callable[[Path], DatasetCase]] = {
    "arrow": arrow,
    "hdf5": swm,
    "d4rl": d4rl,
    "robomimic": robomimic,
    "npz": ogbench,
    "npz, stored": stored_npz,
    "minari": lambda folder: minari(folder, "hdf5"),
    "minari, arrow": lambda folder: minari(folder, "arrow"),
    "minari, parquet": lambda folder: minari(folder, "parquet"),
    "minari, pictures": lambda folder: minari(folder, "hdf5", pictures=True),
    "minari, arrow, pictures": lambda folder: minari(folder, "arrow", pictures=True),
}
"""Makers of small datasets, by kind and, after a comma, variant."""
