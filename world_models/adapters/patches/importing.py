"""Code shared by the importers of DINO-WM and jepa-wms: fitting a file to a task, and renaming its tensors to ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from world_models.adapters.base import Found, Imported
from world_models.adapters.patches.dinov2 import PREFIX, PUBLISHED, DinoConfig, read_dinov2
from world_models.adapters.patches.model import PatchConfig, check_tensors
from world_models.adapters.trained_units import TrainedUnits, trained_units
from world_models.adapters.weights import in_single_precision
from world_models.errors import UserError, require
from world_models.tasks.base import Task

WEIGHTS = "dinov2_vits14 weights"
"""Entry of `Found.needs` for a file without the encoder."""

RENDERING = (
    "It was trained on images from its authors' simulator, and ours are drawn by grasp-orchestrator: expect it to plan worse "
    "than published."
)
"""A note on every imported card."""


def shape_of(tensors: Mapping[str, Tensor], name: str, axes: int, source: Path) -> torch.Size:
    """The shape of a tensor, which must exist with this number of axes, none of them empty; raises UserError otherwise."""
    if name not in tensors:
        raise UserError(f"{source}: its predictor has no {name}: the file is damaged, or of another architecture.")
    shape = tensors[name].shape
    sound = len(shape) == axes and all(shape)
    require(sound, f"{source}: {name} of its predictor has the shape {tuple(shape)}: the file is of another architecture.")
    return shape


def embedding(tensors: Mapping[str, Tensor], name: str, source: Path) -> tuple[Tensor, Tensor]:
    """Weight `[embedding, input]` and bias of an embedding that the file stores as a convolution over one step.

    Raises UserError if the file lacks it or the convolution spans several steps.
    """
    weight, bias = tensors.get("patch_embed.weight"), tensors.get("patch_embed.bias")
    if weight is None or bias is None or weight.ndim != 3 or bias.shape != weight.shape[:1]:
        raise UserError(f"{source}: its {name} encoder has no patch_embed of known shape: the file is of another architecture.")
    steps = weight.shape[2]
    require(
        steps == 1,
        f"{source}: its {name} encoder spans {steps} steps, and only 1 is supported: the file is of another variant.",
    )
    return weight[:, :, 0], bias


def check_task(found: Found, task: Task) -> TrainedUnits:
    """The units of a task that a file fits; raises UserError if its action or proprioception sizes differ from the task's."""
    units = trained_units(task)
    trained = found.sizes.get("environment", units.environment)
    require(
        trained == units.environment,
        f"{found.path} was trained on {trained}, not on {task.name}: choose the task that it was trained on.",
    )
    size = task.action_dim * task.action_block
    if size != found.action_size:
        block = found.action_size / task.action_dim
        hint = f"set action_block={block:g}" if block.is_integer() else "choose the task that it was trained on"
        raise UserError(
            f"{found.path} takes actions of size {found.action_size}, and {task.name}'s model step has {size}: {hint}."
        )
    proprioception_size = len(units.proprioception.mean)
    require(
        found.proprioception_dim in (0, proprioception_size),
        f"{found.path} takes {found.proprioception_dim} proprioception features, and {task.name} has {proprioception_size}: "
        "choose the task that it was trained on.",
    )
    return units


def encoder_tensors(
    held: Mapping[str, Tensor] | None, config: DinoConfig | None, encoder_path: Path | None, source: Path
) -> tuple[DinoConfig, dict[str, Tensor]]:
    """Sizes and tensors of the encoder, from the checkpoint itself or from the weights file that the user names."""
    if held is not None and config is not None:
        return config, dict(held)
    if encoder_path is None:
        raise UserError(f"{source} does not contain its encoder: name the DINOv2 weights file ({PUBLISHED}) with --encoder.")
    return read_dinov2(encoder_path)


def assemble(
    found: Found,
    form: str,
    config: PatchConfig,
    units: TrainedUnits,
    tensors: Mapping[str, Tensor],
    encoder: Mapping[str, Tensor],
    normalised: bool = True,
) -> Imported:
    """The imported model; raises UserError if a tensor does not fit the others."""
    whole = units.proprioception_is_observation and config.proprioception > 0 and config.body_embedding >= config.proprioception
    config = replace(config, quarter_turns=units.quarter_turns, body_is_observation=whole)
    full = {**tensors, **{PREFIX + name: value for name, value in encoder.items()}}
    full["action_units.weight"], full["action_units.bias"] = units.action.tensors(normalised)
    if config.proprioception:
        full["body_units.weight"], full["body_units.bias"] = units.proprioception.tensors(normalised)
    sensors = {"kind": "pixels", "size": config.picture, "proprioception": config.proprioception}
    kept = in_single_precision(check_tensors(config, full, str(found.path)))
    return Imported(form, config.as_card(), kept, sensors, "latent", (*found.notes, RENDERING))


def square_side(patches: int, source: Path) -> int:
    """Number of patches along an image's side; raises UserError if they do not form a square."""
    side = round(patches**0.5)
    require(
        side * side == patches, f"{source}: {patches} patches do not form a square image: the file is of another architecture."
    )
    return side


def count_parameters(tensors: Mapping[str, Tensor]) -> int:
    """Total number of elements of the floating-point tensors."""
    return sum(value.numel() for value in tensors.values() if torch.is_floating_point(value))
