"""Small datasets of each kind, written by the format's own library, with the values that were written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.world_models.datasets.values import CODEC, LENGTHS, held, jpeg, values
from tests.world_models.datasets.with_videos import dino_wm, lerobot_table, lerobot_v2, lerobot_v3, swm_folder
from world_models.datasets import open_dataset
from world_models.testing.datasets import DatasetCase


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


def diffusion_policy(folder: Path, version: int) -> DatasetCase:
    import zarr

    episodes = values()
    root = zarr.open_group(str(folder / "made"), mode="w", zarr_format=version)
    for name, key in (("img", "pixels"), ("state", "observation"), ("action", "action")):
        array = np.concatenate([episode[key] for episode in episodes])
        made = root.create_array(f"data/{name}", shape=array.shape, dtype=array.dtype, chunks=(5, *array.shape[1:]))
        made[:] = array
    root.create_array("meta/episode_ends", data=np.cumsum(LENGTHS))
    truth = held(episodes, img="pixels", state="observation", action="action")
    return DatasetCase(lambda: open_dataset(folder / "made"), truth)


def lance(folder: Path) -> DatasetCase:
    import lance as library
    import pyarrow as pa

    episodes = values()

    def listed(key: str, size: int) -> pa.Array:
        flat = np.concatenate([episode[key] for episode in episodes]).reshape(-1)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), size)

    table = pa.table(
        {
            "episode_idx": pa.array(np.repeat(np.arange(3), LENGTHS).astype(np.int32)),
            "step_idx": pa.array(np.concatenate([np.arange(n) for n in LENGTHS]).astype(np.int32)),
            "observation": listed("observation", 4),
            "action": listed("action", 2),
            "pixels": pa.array([jpeg(frame) for episode in episodes for frame in episode["pixels"]], pa.binary()),
        }
    )
    library.write_dataset(table, str(folder / "made" / "pusht.lance"), max_rows_per_file=10)
    truth = held(episodes, observation="observation", action="action", pixels="pixels")
    return DatasetCase(lambda: open_dataset(folder / "made"), truth, CODEC)


def collected(folder: Path) -> DatasetCase:
    """The writer of `grasp train`; its trajectories have one length."""
    from world_models.training.data import Dataset

    episodes = values((7, 7, 7))
    observations = np.stack([episode["observation"] for episode in episodes])
    actions = np.stack([episode["action"][:-1] for episode in episodes])
    Dataset(observations, actions).write(folder / "made.parquet")
    return DatasetCase(
        lambda: open_dataset(folder / "made.parquet"), {"observation": list(observations), "action": list(actions)}
    )


def parquet(folder: Path) -> DatasetCase:
    import pyarrow.parquet as pq

    episodes = values()
    (folder / "made").mkdir()
    pq.write_table(lerobot_table(episodes[:1]), folder / "made" / "a.parquet", row_group_size=3)
    pq.write_table(lerobot_table(episodes[1:], 1), folder / "made" / "b.parquet")
    truth = {"action": [e["action"] for e in episodes], "observation.state": [e["observation"] for e in episodes]}
    return DatasetCase(lambda: open_dataset(folder / "made"), truth)


def mapping(folder: Path) -> DatasetCase:
    episodes, root = values(), folder / "made"
    root.mkdir()
    np.save(root / "act.npy", np.concatenate([episode["action"] for episode in episodes]))
    np.savez(root / "rest.npz", q=np.concatenate([e["observation"] for e in episodes]), n=np.array(LENGTHS))
    (root / "made.yaml").write_text(
        "files: [act.npy, rest.npz]\nepisodes: {lengths: n}\ncolumns:\n"
        "  action: {from: act, unit: N, features: [x, y]}\n  pose: {from: q, role: state}\n"
    )
    return DatasetCase(lambda: open_dataset(root / "made.yaml"), held(episodes, action="action", pose="observation"))


MAKERS: dict[str, Callable[[Path], DatasetCase]] = {
    "arrow": arrow,
    "hdf5": swm,
    "d4rl": d4rl,
    "robomimic": robomimic,
    "npz": ogbench,
    "npz, stored": stored_npz,
    "lerobot, 2.1": lerobot_v2,
    "lerobot, 3.0": lerobot_v3,
    "zarr, 2": lambda folder: diffusion_policy(folder, 2),
    "zarr, 3": lambda folder: diffusion_policy(folder, 3),
    "lance": lance,
    "dino-wm, videos": lambda folder: dino_wm(folder, video=True),
    "dino-wm, tensors": lambda folder: dino_wm(folder, video=False),
    "folder, videos": lambda folder: swm_folder(folder, video=True),
    "folder, pictures": lambda folder: swm_folder(folder, video=False),
    "collected": collected,
    "parquet": parquet,
    "mapping": mapping,
    "minari": lambda folder: minari(folder, "hdf5"),
    "minari, arrow": lambda folder: minari(folder, "arrow"),
    "minari, parquet": lambda folder: minari(folder, "parquet"),
    "minari, pictures": lambda folder: minari(folder, "hdf5", pictures=True),
    "minari, arrow, pictures": lambda folder: minari(folder, "arrow", pictures=True),
}
"""Makers of small datasets, by kind and, after a comma, variant."""
