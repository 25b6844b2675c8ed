"""How much memory reading takes of a dataset that is larger than it: the part of `python -m benchmarks.data` that streams."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil

from world_models.datasets import Windows, batches, open_dataset
from world_models.datasets.arrow_writing import write_arrow

SIZE, FREE = 20 * 10**9, 40 * 10**9
"""Bytes of the dataset, and those that have to be free on the disk."""
WORKERS = 2
ROWS, BATCH = 16, 64
LENGTH, SIDE = 200, 64
"""Rows of an episode, and side of its pictures in px."""
SECONDS = 60.0
"""The longest that the workers read."""


def peak_mb(folder: Path, size: int = SIZE) -> int | None:
    """The peak of private memory of this process and two that stream, MB; None where the disk has too little room."""
    free = shutil.disk_usage(folder).free
    if free < FREE * size / SIZE:
        print(f"peak_mb is left out: {free / 1e9:.0f} GB are free, and {FREE * size / SIZE / 1e9:.0f} GB are needed")
        return None
    path = folder / "large"
    begin = time.perf_counter()
    write_arrow(path, _pictures(size))
    print(f"wrote {size / 1e9:.0f} GB in {time.perf_counter() - begin:.0f} s", flush=True)
    context = multiprocessing.get_context("spawn")
    workers, ends, given = [], [], []
    for number in range(WORKERS):
        ours, theirs = context.Pipe(duplex=False)
        workers.append(context.Process(target=_stream, args=(str(path), number, theirs), daemon=True))
        ends.append(ours)
        given.append(theirs)
    for worker, end in zip(workers, given, strict=True):
        worker.start()
        end.close()  # so that a worker that dies is noticed
    processes = [psutil.Process(), *(psutil.Process(worker.pid) for worker in workers)]
    peak = 0
    while any(worker.is_alive() for worker in workers):
        peak = max(peak, sum(_private(process) for process in processes))
        time.sleep(0.1)
    read = sum(end.recv() for end in ends)
    print(f"read {read * ROWS * SIDE * SIDE * 3 / 1e9:.1f} GB in windows at random", flush=True)
    shutil.rmtree(path)
    return round(peak / 1e6)


def _pictures(size: int) -> Iterator[dict[str, np.ndarray]]:
    """Episodes of pictures that do not compress."""
    rng = np.random.default_rng(0)
    for _ in range(size // (LENGTH * SIDE * SIDE * 3)):
        pixels = np.frombuffer(rng.bytes(LENGTH * SIDE * SIDE * 3), np.uint8).reshape(LENGTH, SIDE, SIDE, 3)
        yield {"pixels": pixels, "action": rng.normal(size=(LENGTH, 4)).astype(np.float32)}


def _stream(path: str, number: int, end: Connection) -> None:
    """Read every other batch of an epoch, or what the time allows, and tell how many windows that were."""
    data = open_dataset(path)
    windows = Windows(data.lengths, ROWS, seed=number)
    begin, done = time.perf_counter(), 0
    for batch in batches(data, windows, BATCH, end=windows.count // BATCH // WORKERS):
        done += len(batch["pixels"])
        if time.perf_counter() - begin > SECONDS:
            break
    end.send(done)


def _private(process: psutil.Process) -> int:
    """Bytes of a process that no file holds; 0 for one that has ended."""
    try:
        memory = process.memory_info()
    except psutil.Error:
        return 0
    return memory.rss - memory.shared
