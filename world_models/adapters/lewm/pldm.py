"""PLDM's checkpoints in the layout of stable-worldmodel, whose encoder and predictor are those of its LeWM (Sobal et al., arXiv
2502.14819): another way of training, and so another kind, but the same model at planning time."""

from __future__ import annotations

from pathlib import Path

from world_models.adapters.base import NOTHING, Found, Given, Imported
from world_models.adapters.lewm.files import converted, described
from world_models.adapters.lewm.reading import read
from world_models.tasks.base import Task

KIND = "pldm"
FORMAT = "grasp-orchestrator/pldm/1"


def recognise(path: Path, given: Given = NOTHING) -> Found | None:
    """Description of a PLDM file; None for another kind. Raises UserError if layers are missing or of an unknown variant."""
    contents = read(path, given.weights)
    return described(path, contents, given) if contents is not None and contents.kind == KIND else None


def convert(found: Found, task: Task, encoder_path: Path | None = None) -> Imported:
    """The model in our format, for a task. Raises UserError if action sizes do not fit or an encoder file is given.

    Actions are treated as a LeWM's are.
    """
    return converted(found, task, encoder_path, "PLDM", FORMAT)
