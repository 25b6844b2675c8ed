"""How fast datasets are read: `python -m benchmarks.data`, with made-up data in a temporary folder.

Windows are of 16 rows at random. `windows_per_s`: three columns of numbers, our Arrow form. `windows_per_s_h5`: the same
columns in stable-worldmodel's HDF5, one row per chunk. `frames_per_s`: mp4 of 64 px with a key frame every 12, by two threads;
`frames_per_s_PX_gop_N`: other sizes and distances between key frames. `open_s`: opening of 100,000 episodes in our form.
`statistics_s`: statistics of 10 million rows of 8 numbers in our form. `wait_share`: the larger one of the shares of its time
that training of a state model and of a pixel model waits for batches from HDF5; both are beside it. `peak_mb`: most private
memory, over all processes, while two stream windows of 20 GB that do not compress; null where less than 40 GB are free on the
disk. The last line is a JSON object.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.data_memory import peak_mb
from benchmarks.data_waiting import wait_shares
from world_models.datasets import Episodes, Windows, batches, open_dataset
from world_models.datasets.arrow_writing import write_arrow
from world_models.datasets.statistics import statistics

ROWS = 16
SECONDS = 3.0
"""Time that each rate is measured for, three times; the best counts, since the machine may have other work."""
SIZES = ((64, 12), (64, 250), (224, 12), (224, 250))
"""Sides of frames, px, and distances between key frames."""


def main() -> None:
    """Measure, and print the numbers as JSON."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found: dict[str, float | int | None] = {"cores": os.cpu_count()}
        write_arrow(folder / "arrow", episodes(2000, 200))
        found["windows_per_s"] = rate(open_dataset(folder / "arrow"), threads=1)
        write_hdf5(folder / "swm.h5")
        found["windows_per_s_h5"] = rate(open_dataset(folder / "swm.h5"), threads=1)
        write_arrow(folder / "many", episodes(100_000, 4))
        found["open_s"] = round(opening(folder / "many"), 3)
        write_arrow(folder / "long", ({"x": block} for block in np.random.default_rng(0).normal(size=(100, 100_000, 8))))
        begin = time.perf_counter()
        statistics(open_dataset(folder / "long"))
        found["statistics_s"] = round(time.perf_counter() - begin, 2)
        for side, gop in SIZES:
            write_videos(folder / f"v{side}_{gop}", side, gop)
            frames = ROWS * rate(open_dataset(folder / f"v{side}_{gop}"), threads=2, size=8, columns=["pixels"])
            found["frames_per_s" if (side, gop) == SIZES[0] else f"frames_per_s_{side}_gop_{gop}"] = frames
        found.update(wait_shares(folder))
        found["peak_mb"] = peak_mb(folder)
        print(json.dumps(found))


def episodes(count: int, length: int) -> Iterator[dict[str, np.ndarray]]:
    """Episodes of random observations, actions and rewards."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield {
            "observation": rng.normal(size=(length, 20)).astype(np.float32),
            "action": rng.normal(size=(length, 4)).astype(np.float32),
            "reward": rng.normal(size=length).astype(np.float32),
        }


def rate(data: Episodes, threads: int, size: int = 256, columns: list[str] | None = None) -> int:
    """Random windows per second, the best of three times."""
    windows, found = Windows(data.lengths, ROWS), 0.0
    for trial in range(3):
        begin, done = time.perf_counter(), 0
        for batch in batches(data, windows, size, columns, begin=1000 * trial, threads=threads):
            done += len(next(iter(batch.values())))
            if (spent := time.perf_counter() - begin) > SECONDS:
                found = max(found, done / spent)
                break
    return round(found)


def opening(path: Path) -> float:
    """Seconds to open a dataset, the best of three times."""
    found = []
    for _ in range(3):
        begin = time.perf_counter()
        open_dataset(path)
        found.append(time.perf_counter() - begin)
    return min(found)


def write_hdf5(path: Path) -> None:
    """Write episodes as stable-worldmodel does: chunks of one row, which grow with every episode."""
    import h5py

    arrays: dict[str, h5py.Dataset] = {}
    with h5py.File(path, "w", libver="latest") as file:
        for number, episode in enumerate(episodes(1000, 200)):
            for name, values in episode.items():
                if number == 0:
                    shape = values.shape[1:]
                    arrays[name] = file.create_dataset(
                        name, (0, *shape), values.dtype, maxshape=(None, *shape), chunks=(1, *shape)
                    )
                arrays[name].resize(200 * (number + 1), axis=0)
                arrays[name][200 * number :] = values
        file["ep_len"] = np.full(1000, 200, np.int32)
        file["ep_offset"] = np.arange(1000) * 200


def write_videos(folder: Path, side: int, gop: int) -> None:
    """Write eight episodes of 300 frames in which a disc moves, in the folder of stable-worldmodel's videos."""
    import av

    (folder / "pixels").mkdir(parents=True)
    y, x = np.mgrid[:side, :side] / side
    for episode in range(8):
        with av.open(folder / f"pixels/ep_{episode}.mp4", "w") as out:
            stream = out.add_stream("libx264", rate=Fraction(10), options={"g": str(gop), "keyint_min": str(gop)})
            stream.height = stream.width = side
            stream.pix_fmt = "yuv420p"
            for t in range(300):
                away = np.hypot(x - 0.5 - 0.3 * np.cos(t / 20 + episode), y - 0.5 - 0.3 * np.sin(t / 15))
                grey = np.where(away < 0.1, 200, 40 + 40 * x).astype(np.uint8)
                frame = np.stack([grey, 255 - grey, grey // 2], -1)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            out.mux(stream.encode())
    np.savez(folder / "ep_len.npz", np.full(8, 300))
    np.savez(folder / "action.npz", np.zeros((2400, 2), np.float32))


if __name__ == "__main__":
    main()
