"""Small datasets of the kinds that keep videos, with the values that were written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.world_models.datasets.values import CODEC, LENGTHS, held, jpeg, values, write_video
from world_models.datasets import open_dataset
from world_models.testing.datasets import DatasetCase


def lerobot_features() -> dict[str, object]:
    return {
        "observation.state": {"dtype": "float32", "shape": [4], "names": {"motors": ["a", "b", "c", "d"]}},
        "action": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
        "observation.images.top": {"dtype": "video", "shape": [64, 64, 3], "names": ["height", "width", "channels"]},
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    }


def lerobot_table(episodes: list[dict[str, np.ndarray]], first: int = 0):
    """The Parquet table of some episodes, as LeRobot's writer lays it out."""
    import pyarrow as pa

    lengths = [len(episode["action"]) for episode in episodes]
    columns = {
        "observation.state": pa.array([row for e in episodes for row in e["observation"].tolist()], pa.list_(pa.float32(), 4)),
        "action": pa.array([row for e in episodes for row in e["action"].tolist()], pa.list_(pa.float32())),
        "timestamp": pa.array(np.concatenate([np.arange(n) / 10 for n in lengths]).astype(np.float32)),
        "frame_index": pa.array(np.concatenate([np.arange(n) for n in lengths])),
        "episode_index": pa.array(np.repeat(np.arange(len(lengths)) + first, lengths)),
        "index": pa.array(np.arange(sum(lengths)) + sum(LENGTHS[:first])),
    }
    return pa.table(columns)


def lerobot_v2(folder: Path) -> DatasetCase:
    import pyarrow.parquet as pq

    episodes, root = values(size=64), folder / "made"
    (root / "meta").mkdir(parents=True)
    info = {
        "codebase_version": "v2.1",
        "robot_type": "so100",
        "fps": 10,
        "total_episodes": 3,
        "chunks_size": 2,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": lerobot_features(),
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    lines = [json.dumps({"episode_index": n, "tasks": ["x"], "length": length}) for n, length in enumerate(LENGTHS)]
    (root / "meta/episodes.jsonl").write_text("\n".join(lines))
    for number, episode in enumerate(episodes):
        file = root / f"data/chunk-{number // 2:03d}/episode_{number:06d}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(lerobot_table([episode], number), file)
        video = root / f"videos/chunk-{number // 2:03d}/observation.images.top/episode_{number:06d}.mp4"
        write_video(video, episode["pixels"])
    return lerobot_case(root, episodes)


def lerobot_v3(folder: Path) -> DatasetCase:
    """Episodes 0 and 1 share a Parquet file and a video."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    episodes, root = values(size=64), folder / "made"
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    info = {
        "codebase_version": "v3.0",
        "fps": 10,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": lerobot_features(),
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    key, files = "observation.images.top", [0, 0, 1]
    pq.write_table(
        pa.table(
            {
                "episode_index": [0, 1, 2],
                "length": list(LENGTHS),
                "data/chunk_index": [0, 0, 0],
                "data/file_index": files,
                f"videos/{key}/chunk_index": [0, 0, 0],
                f"videos/{key}/file_index": files,
                f"videos/{key}/from_timestamp": [0.0, LENGTHS[0] / 10, 0.0],
                f"videos/{key}/to_timestamp": [LENGTHS[0] / 10, sum(LENGTHS[:2]) / 10, LENGTHS[2] / 10],
                "stats/action/mean": [[0.0], [0.0], [0.0]],
            }
        ),
        root / "meta/episodes/chunk-000/file-000.parquet",
    )
    for number, part in enumerate((episodes[:2], episodes[2:])):
        table = lerobot_table(part, 2 * number)
        pq.write_table(table, root / f"data/chunk-000/file-{number:03d}.parquet", row_group_size=5)
        write_video(root / f"videos/{key}/chunk-000/file-{number:03d}.mp4", np.concatenate([e["pixels"] for e in part]))
    return lerobot_case(root, episodes)


def lerobot_case(root: Path, episodes: list[dict[str, np.ndarray]]) -> DatasetCase:
    truth = held(episodes, action="action")
    truth["observation.state"] = [episode["observation"] for episode in episodes]
    truth["observation.images.top"] = [episode["pixels"] for episode in episodes]
    return DatasetCase(lambda: open_dataset(root), truth, CODEC)


def dino_wm(folder: Path, video: bool) -> DatasetCase:
    import pickle

    import torch

    episodes, root = values(size=64), folder / "made"
    (root / "obses").mkdir(parents=True)

    def padded(key: str) -> torch.Tensor:
        array = np.zeros((3, max(LENGTHS), episodes[0][key].shape[1]), np.float32)
        for number, episode in enumerate(episodes):
            array[number, : LENGTHS[number]] = episode[key]
        return torch.from_numpy(array)

    torch.save(padded("observation"), root / "states.pth")
    torch.save(padded("action"), root / ("rel_actions.pth" if video else "actions.pth"))
    if video:
        (root / "seq_lengths.pkl").write_bytes(pickle.dumps(list(LENGTHS)))
    else:
        torch.save(torch.tensor(LENGTHS), root / "seq_lengths.pth")
    for number, episode in enumerate(episodes):
        if video:
            write_video(root / f"obses/episode_{number:03d}.mp4", episode["pixels"])
        else:
            torch.save(torch.from_numpy(episode["pixels"]), root / f"obses/episode_{number:03d}.pth")
    truth = held(episodes, states="observation", obses="pixels", **{"rel_actions" if video else "actions": "action"})
    return DatasetCase(lambda: open_dataset(root), truth, CODEC if video else None)


def swm_folder(folder: Path, video: bool) -> DatasetCase:
    episodes, root = values(size=64), folder / "made"
    root.mkdir()
    np.savez(root / "ep_len.npz", np.array(LENGTHS, np.int32))
    np.savez(root / "ep_offset.npz", np.cumsum([0, *LENGTHS[:-1]]))
    for name in ("observation", "action"):
        np.savez(root / f"{name}.npz", np.concatenate([episode[name] for episode in episodes]))
    (root / "pixels").mkdir()
    for number, episode in enumerate(episodes):
        if video:
            write_video(root / f"pixels/ep_{number}.mp4", episode["pixels"])
        for step, frame in enumerate(episode["pixels"] if not video else ()):
            (root / f"pixels/ep_{number}_step_{step}.jpeg").write_bytes(jpeg(frame))
    truth = held(episodes, observation="observation", action="action", pixels="pixels")
    return DatasetCase(lambda: open_dataset(root), truth, CODEC)
