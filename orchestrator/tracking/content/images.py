"""Files of selected cells in a point's MLflow run, and images by step for the image grid's slider."""

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
"""Folders for files in a run; MLflow's UI looks for images by step in the second."""

CELLS = 8
"""Most cells that a run shows; the storage has all."""

STEPS = 8
"""Most images by step, of one cell: each is two files, and uploads take most of the time of tracking a point."""

TAGS = {"mlflow.loggedImages": "True"}
"""Tags that make the UI look for images by step."""


@dataclass(frozen=True)
class RunFile:
    """A file of a run."""

    folder: str
    name: str
    data: bytes


def shown_of(manifest: ArtifactManifest, seeds: np.ndarray) -> ArtifactManifest | None:
    """The part of a manifest that a sweep of these seeds shows, most telling cells first; None if that is empty."""
    cells = [shown for shown in manifest.cells if shown.cell.seed in seeds and shown.files]
    cells.sort(key=lambda shown: (min(map(REASONS.index, shown.cell.reasons), default=len(REASONS)), shown.cell.seed))
    return replace(manifest, cells=tuple(cells[:CELLS]), troubles=()) if cells else None


def run_files(artifact_store: ArtifactStore, point_id: str, manifest: ArtifactManifest, began: int) -> Iterator[RunFile]:
    """The files for a run that began at `began` (milliseconds)."""
    for shown in manifest.cells:
        names = {PurePosixPath(name).suffix: name for name in shown.files}
        if ".mp4" in names:
            names.pop(".gif", None)  # the same animation
        for suffix, name in names.items():
            yield RunFile(FOLDER, f"{shown.cell.title}{suffix}", artifact_store.read(point_id, name))
    yield from _by_step(artifact_store, point_id, manifest, manifest.cells[0], began)


def _by_step(
    artifact_store: ArtifactStore, point_id: str, manifest: ArtifactManifest, shown: DrawnCell, began: int
) -> Iterator[RunFile]:
    """Some frames of a cell's gif, named as MLflow's `log_image` names them, each with the small copy that the UI wants."""
    animation = next((name for name in shown.files if name.endswith(".gif")), None)
    if animation is None:
        return
    for step, data in _frames(artifact_store.read(point_id, animation), manifest.steps):
        # A digest replaces the random id of log_image, so that writing it again gives the same file.
        name = f"{FOLDER}+step+{step}+timestamp+{began}+{manifest.digest}"
        yield RunFile(IMAGES, f"{name}.png", data)
        yield RunFile(IMAGES, f"{name}+compressed.png", data)


def _frames(gif: bytes, steps: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Environment steps and their images."""
    with Image.open(io.BytesIO(gif)) as animation:
        for number in np.unique(np.linspace(0, len(steps) - 1, min(STEPS, len(steps))).round().astype(int)).tolist():
            animation.seek(number)
            buffer = io.BytesIO()
            animation.convert("RGB").save(buffer, "PNG")
            yield steps[number], buffer.getvalue()
