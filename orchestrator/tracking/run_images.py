"""What a point's run in MLflow shows of its chosen cells: their files, and pictures by step for the image grid's slider."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from orchestrator.artifacts.gallery import Gallery, Record, Shown
from orchestrator.artifacts.selection import REASONS

FOLDER, IMAGES = "rollout", "images"
"""Where files go in a run; MLflow's UI looks for pictures by step in the second."""

CELLS = 8
"""Cells that a run shows at most; the storage has all."""

STEPS = 8
"""Pictures by step, of one cell: each is two files, and uploading files is what tracking a point takes."""

TAGS = {"mlflow.loggedImages": "True"}
"""What makes the UI look for pictures by step."""


@dataclass(frozen=True)
class RunFile:
    """A file of a run."""

    folder: str
    name: str
    data: bytes


def shown_of(record: Record, seeds: np.ndarray) -> Record | None:
    """What a sweep of these seeds shows of what is drawn, cells with the most to say first; None where that is nothing."""
    cells = [shown for shown in record.cells if shown.choice.seed in seeds and shown.files]
    cells.sort(key=lambda shown: (min(map(REASONS.index, shown.choice.reasons), default=len(REASONS)), shown.choice.seed))
    return replace(record, cells=tuple(cells[:CELLS]), troubles=()) if cells else None


def run_files(gallery: Gallery, point_id: str, record: Record, began: int) -> Iterator[RunFile]:
    """The files for a run that began then (milliseconds)."""
    for shown in record.cells:
        names = {PurePosixPath(name).suffix: name for name in shown.files}
        if ".mp4" in names:
            names.pop(".gif", None)  # the same film
        for suffix, name in names.items():
            yield RunFile(FOLDER, f"{shown.choice.title}{suffix}", gallery.read(point_id, name))
    yield from _by_step(gallery, point_id, record, record.cells[0], began)


def _by_step(gallery: Gallery, point_id: str, record: Record, shown: Shown, began: int) -> Iterator[RunFile]:
    """Some frames of a cell's gif, named as MLflow's own `log_image` names them; it wants a small one of each as well."""
    film = next((name for name in shown.files if name.endswith(".gif")), None)
    if film is None:
        return
    for step, data in _frames(gallery.read(point_id, film), record.steps):
        # Where log_image has a random id there is a digest: written again, it is the same file.
        name = f"{FOLDER}+step+{step}+timestamp+{began}+{record.digest}"
        yield RunFile(IMAGES, f"{name}.png", data)
        yield RunFile(IMAGES, f"{name}+compressed.png", data)


def _frames(gif: bytes, steps: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Environment steps and their pictures."""
    with Image.open(io.BytesIO(gif)) as film:
        for number in np.unique(np.linspace(0, len(steps) - 1, min(STEPS, len(steps))).round().astype(int)).tolist():
            film.seek(number)
            buffer = io.BytesIO()
            film.convert("RGB").save(buffer, "PNG")
            yield steps[number], buffer.getvalue()
