"""Reading of TD-MPC2's checkpoints: `{"model": state_dict}` without a config, so that all sizes are inferred from the shapes.

Layout after github.com/nicklashansen/tdmpc2: `_encoder.state.N.*` and `_dynamics.N.*`, each layer with `weight`, `bias`,
`ln.weight` and `ln.bias`. The value functions' keys are left out in both variants (before and after torch.compile support).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from world_models.adapters.base import Found, Imported
from world_models.adapters.files import fitted, nested, read_content, tensors_in
from world_models.adapters.readout import take_readout
from world_models.adapters.tdmpc2.model import SIMNORM_GROUP, TDMPC2, TDMPC2Config
from world_models.base import SquaredDistance
from world_models.errors import UserError, require
from world_models.parts import Card, Parts, Tensors, model_config
from world_models.tasks.base import Task

KIND = "tdmpc2"
FORMAT = "grasp-orchestrator/tdmpc2/1"

ENCODER, DYNAMICS = "_encoder.state.", "_dynamics."
"""Prefixes of the two networks."""


def recognise(path: Path) -> Found | None:
    """Description of a TD-MPC2 file; None for another kind.

    Raises UserError for a model of several tasks or of images, or with missing layers.
    """
    tensors = _tensors(path)
    if tensors is None:
        return None
    config = _sizes(path, tensors)
    heads = sorted({key.split(".")[0].lstrip("_") for key in tensors} - {"encoder", "dynamics"})
    return Found(
        kind=KIND,
        path=path,
        sizes={
            "state observation": config.observation_dim,
            "latent": config.latent_dim,
            "encoder layers": len(config.encoder_widths) + 1,
            "dynamics width": config.dynamics_widths[0],
            "history": 1,
        },
        action_size=config.action_dim,
        observation_dim=config.observation_dim,
        notes=(
            "Observations enter as the task gives them: the model fits a task only if it was trained on the same features.",
            f"Not used for planning: {', '.join(heads)}." if heads else "",
        ),
    )


def convert(found: Found, task: Task, encoder_path: Path | None = None) -> Imported:
    """The model in our format, for a task. Raises UserError if sizes do not fit or an encoder file is given."""
    require(encoder_path is None, f"a TD-MPC2 checkpoint holds its encoder: leave {encoder_path} out.")
    tensors = _tensors(found.path)
    require(tensors is not None, f"{found.path} is no longer a TD-MPC2 checkpoint: it changed while it was read.")
    assert tensors is not None
    sizes = _sizes(found.path, tensors)
    require(
        sizes.observation_dim == task.observation_dim,
        f"{found.path} takes observations of size {sizes.observation_dim}, and task {task.name!r} gives "
        f"{task.observation_dim}: choose the task that it was trained on.",
    )
    size = task.action_dim * task.action_block
    require(
        sizes.action_dim == size,
        f"{found.path} takes actions of size {sizes.action_dim}, and a model step of task {task.name!r} has {size} "
        "(action size x action_block): set action_block to the value that it was trained with.",
    )
    config = {**asdict(sizes), "action_dim": task.action_dim, "action_block": task.action_block}
    with torch.device("meta"):
        wanted = TDMPC2(TDMPC2Config(**config)).state_dict()
    return Imported(
        format=FORMAT,
        config=config,
        tensors=fitted(found.path, _renamed(tensors), wanted),
        sensors={"kind": "state"},
        goal_cost="latent",
        notes=(f"SimNorm groups of {SIMNORM_GROUP}, as in every published model: the file does not tell.",),
    )


def parts(card: Card, tensors: Tensors) -> Parts:
    """The parts of an imported checkpoint (`world_models.checkpoints.formats`)."""
    decode = take_readout(tensors)
    with torch.device("meta"):
        model = TDMPC2(TDMPC2Config(**model_config(card)))
    model.load_state_dict(tensors, assign=True)
    return Parts(model, {"latent": SquaredDistance()}, "latent", decode)


def _tensors(path: Path) -> dict[str, Tensor] | None:
    """The state dict of a TD-MPC2 checkpoint; None for a file of another kind."""
    tensors = tensors_in(nested(read_content(path), "model"))
    ours = any(key.startswith("_encoder.") for key in tensors) and any(key.startswith(DYNAMICS) for key in tensors)
    return tensors if ours else None


def _sizes(path: Path, tensors: Mapping[str, Tensor]) -> TDMPC2Config:
    """Sizes inferred from the shapes, where `action_dim` is the size of a whole model step's action."""
    if "_task_emb.weight" in tensors:
        raise UserError(
            f"{path} is a TD-MPC2 model of {len(tensors['_task_emb.weight'])} tasks: only single-task models can be read."
        )
    if any(key.startswith("_encoder.rgb.") for key in tensors):
        raise UserError(f"{path} is a TD-MPC2 model of stacked images: only models of state observations can be read.")
    encoder, dynamics = _layers(path, tensors, ENCODER), _layers(path, tensors, DYNAMICS)
    latent = encoder[-1][0]
    require(
        dynamics[-1][0] == latent and dynamics[0][1] > latent and latent % SIMNORM_GROUP == 0,
        f"{path}: dynamics from {dynamics[0][1]} to {dynamics[-1][0]} features do not fit a latent of {latent}.",
    )
    return TDMPC2Config(
        observation_dim=encoder[0][1],
        action_dim=dynamics[0][1] - latent,
        latent_dim=latent,
        encoder_widths=tuple(rows for rows, _ in encoder[:-1]),
        dynamics_widths=tuple(rows for rows, _ in dynamics[:-1]),
    )


def _layers(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> list[tuple[int, int]]:
    """Rows and columns of a network's layers in order; raises UserError if one is missing or not a matrix."""
    found: dict[int, tuple[int, int]] = {}
    for key, tensor in tensors.items():
        match = re.fullmatch(re.escape(prefix) + r"(\d{1,3})\.weight", key)
        if match and tensor.ndim == 2:
            found[int(match[1])] = (tensor.shape[0], tensor.shape[1])
    if len(found) < 2 or sorted(found) != list(range(len(found))):
        raise UserError(f"{path} looks like TD-MPC2 but its layers {prefix}N.weight are not complete: copy it again.")
    return [found[number] for number in sorted(found)]


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Encoder and dynamics under our names."""
    names = {ENCODER: "encoder.", DYNAMICS: "dynamics."}
    return {
        ours + key.removeprefix(theirs): value.detach().float().clone()
        for theirs, ours in names.items()
        for key, value in tensors.items()
        if key.startswith(theirs)
    }
