"""What a point's run in MLflow shows of its chosen cells: their files, and pictures by step for the image grid's slider."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from orchestrator.artifacts.artifact_store import ArtifactManifest, ArtifactStore, DrawnCell
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


def shown_of(manifest: ArtifactManifest, seeds: np.ndarray) -> ArtifactManifest | None:
    """What a sweep of these seeds shows of what is drawn, cells with the most to say first; None where that is nothing."""
    cells = [shown for shown in manifest.cells if shown.cell.seed in seeds and shown.files]
    cells.sort(key=lambda shown: (min(map(REASONS.index, shown.cell.reasons), default=len(REASONS)), shown.cell.seed))
    return replace(manifest, cells=tuple(cells[:CELLS]), troubles=()) if cells else None


def run_files(artifact_store: ArtifactStore, point_id: str, manifest: ArtifactManifest, began: int) -> Iterator[RunFile]:
    """The files for a run that began then (milliseconds)."""
    for shown in manifest.cells:
        names = {PurePosixPath(name).suffix: name for name in shown.files}
        if ".mp4" in names:
            names.pop(".gif", None)  # the same film
        for suffix, name in names.items():
            yield RunFile(FOLDER, f"{shown.cell.title}{suffix}", artifact_store.read(point_id, name))
    yield from _by_step(artifact_store, point_id, manifest, manifest.cells[0], began)


def _by_step(
    artifact_store: ArtifactStore, point_id: str, manifest: ArtifactManifest, shown: DrawnCell, began: int
) -> Iterator[RunFile]:
    """Some frames of a cell's gif, named as MLflow's own `log_image` names them; it wants a small one of each as well."""
    animation = next((name for name in shown.files if name.endswith(".gif")), None)
    if animation is None:
        return
    for step, data in _frames(artifact_store.read(point_id, animation), manifest.steps):
        # Where log_image has a random id there is a digest: written again, it is the same file.
        name = f"{FOLDER}+step+{step}+timestamp+{began}+{manifest.digest}"
        yield RunFile(IMAGES, f"{name}.png", data)
        yield RunFile(IMAGES, f"{name}+compressed.png", data)


def _frames(gif: bytes, steps: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Environment steps and their pictures."""
    with Image.open(io.BytesIO(gif)) as animation:
        for number in np.unique(np.linspace(0, len(steps) - 1, min(STEPS, len(steps))).round().astype(int)).tolist():
            animation.seek(number)
            buffer = io.BytesIO()
            animation.convert("RGB").save(buffer, "PNG")
            yield steps[number], buffer.getvalue()
