"""Promises of every adapter of foreign checkpoints: what `grasp models inspect` and `import` rely on."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from world_models.adapters.base import Adapter
from world_models.checkpoints.formats import FORMATS, assemble
from world_models.errors import UserError
from world_models.tasks.base import Task


@dataclass(frozen=True)
class AdapterCase:
    """An adapter, and a file of its kind."""

    adapter: Adapter
    file: Path
    task: Task | None = None
    """A task that the file fits; None: what is imported is not tried."""


def file_is_recognised(case: AdapterCase) -> None:
    """It recognises a file of its kind, and describes it the same each time."""
    found = case.adapter.recognise(case.file)
    assert found is not None, f"{case.file} is not recognised"
    assert found == case.adapter.recognise(case.file), f"{case.file} is described in two ways"
    assert found.path == case.file, f"the description is of {found.path}"
    assert found.action_size >= 1, f"the size of an action is {found.action_size}"


def other_files_are_left_alone(case: AdapterCase) -> None:
    """It returns None for a file of another kind, and raises nothing but UserError for one that is not a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        other, damaged = Path(folder) / "other.safetensors", Path(folder) / "damaged.pt"
        save_file({"of.nobody": torch.zeros(2)}, other)
        damaged.write_bytes(b"not a checkpoint")
        assert case.adapter.recognise(other) is None, "it claims a file that holds one unknown tensor"
        with contextlib.suppress(UserError):
            assert case.adapter.recognise(damaged) is None, "it claims a file that is not a checkpoint"


def import_is_a_model_of_ours(case: AdapterCase) -> None:
    """An imported model is in a format of ours, and takes the task's actions."""
    if case.task is None:
        return
    found = case.adapter.recognise(case.file)
    assert found is not None, f"{case.file} is not recognised"
    made = case.adapter.convert(found, case.task)
    assert made.format in FORMATS, f"its format is {made.format!r}, which is none of {', '.join(FORMATS)}"
    card = {"format": made.format, "model": made.config, "sensors": dict(made.sensors), "goal_cost": made.goal_cost}
    model = assemble(card, dict(made.tensors)).model
    size = case.task.action_dim * case.task.action_block
    assert model.action_dim == size, f"its model takes actions of {model.action_dim} numbers, and the task's step has {size}"


ADAPTER_CHECKS: tuple[Callable[[AdapterCase], None], ...] = (
    file_is_recognised,
    other_files_are_left_alone,
    import_is_a_model_of_ours,
)
"""All promises, each a function that raises AssertionError where it is broken."""


def check_adapter(case: AdapterCase) -> None:
    """Check every promise. Raises AssertionError for the first that is broken."""
    for check in ADAPTER_CHECKS:
        check(case)
