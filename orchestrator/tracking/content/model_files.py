"""World models as MLflow has them: the files of a checkpoint, and a description by which `mlflow.pyfunc` loads them back."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.tracking.content.inputs import ReadModel
from world_models.checkpoints.store import resolve
from world_models.errors import UserError

MOST_BYTES = 2**28
"""Files of larger models are not uploaded: their cards are inputs of the sweep nevertheless."""

CHECKPOINT = "checkpoint"
"""Folder of the checkpoint's files in the MLflow model."""

LOADER = "orchestrator.tracking.loaded_model"
"""Module by which `mlflow.pyfunc` loads a model."""


@dataclass(frozen=True)
class ModelFiles:
    """A checkpoint's files, to be kept in MLflow."""

    name: str
    digest: str
    params: dict[str, str]
    files: tuple[Path, ...]

    def description(self, model_id: str) -> str:
        """The text of the file `MLmodel`, in the YAML that is JSON."""
        flavour = {"loader_module": LOADER, "data": CHECKPOINT, "python_version": platform.python_version()}
        return json.dumps({"flavors": {"python_function": flavour}, "model_id": model_id, "model_uuid": self.digest}, indent=1)


def model_files(models: Iterable[ReadModel]) -> list[ModelFiles]:
    """The checkpoints among models, except for large ones; plug-ins and archives are none."""
    found = []
    for model in models:
        try:
            folder = resolve(model.model)
            files = (folder / "card.json", folder / "model.safetensors")
            size = sum(file.stat().st_size for file in files)
        except (UserError, OSError):
            continue
        if size > MOST_BYTES:
            continue
        params = {"content_digest": model.digest, "format": str(model.card.get("format"))}
        dynamics = model.card.get("dynamics")
        params |= {f"dynamics.{key}": str(value) for key, value in dynamics.items()} if isinstance(dynamics, dict) else {}
        found.append(ModelFiles(model.name, model.digest, params, files))
    return found
