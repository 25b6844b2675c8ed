"""Reading of TD-MPC2's checkpoints: `{"model": state_dict}` without a config, so that all sizes are inferred from the shapes.

An agent of many tasks becomes one of the task that the user names (`multitask`).

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

from world_models.adapters.base import NOTHING, Found, Given, Imported
from world_models.adapters.files import fitted, read_content
from world_models.adapters.readout import take_readout
from world_models.adapters.tdmpc2.model import SIMNORM_GROUP, TDMPC2, TDMPC2Config
from world_models.adapters.tdmpc2.multitask import EMBEDDINGS, action_count, check_tasks, is_multitask, single_task
from world_models.adapters.weights import Choice, Weights, find_weights, in_single_precision
from world_models.base import SquaredDistance
from world_models.errors import UserError, require
from world_models.parts import Card, Parts, Tensors, model_config
from world_models.tasks.base import Task

KIND = "tdmpc2"
FORMAT = "grasp-orchestrator/tdmpc2/1"

ENCODER, DYNAMICS = "_encoder.state.", "_dynamics."
"""Prefixes of the two networks."""

_PLANNED_WITH = {"encoder", "dynamics", "task_emb", "action_masks"}


def recognise(path: Path, given: Given = NOTHING) -> Found | None:
    """Description of a TD-MPC2 file; None for another kind.

    Raises UserError for a model of images, for a task that is not in its set, or for missing layers.
    """
    agent = _agent(path, given.weights)
    if agent is None:
        return None
    tensors = agent.tensors
    config = _sizes(path, tensors)
    heads = sorted({key.split(".")[0].lstrip("_") for key in tensors} - _PLANNED_WITH)
    sizes: dict[str, int | str] = {
        "state observation": config.observation_dim,
        "latent": config.latent_dim,
        "encoder layers": len(config.encoder_widths) + 1,
        "dynamics width": config.dynamics_widths[0],
        "history": 1,
    }
    several, size = is_multitask(tensors), config.action_dim
    if several:
        sizes["tasks"] = len(tensors[EMBEDDINGS])
        size = action_count(path, tensors, given.environment) if given.environment is not None else size
    return Found(
        kind=KIND,
        path=path,
        sizes=sizes,
        action_size=size,
        observation_dim=config.observation_dim,
        pads_observations=several,
        notes=(
            *agent.notes,
            "Observations enter as the task gives them: the model fits a task only if it was trained on the same features.",
            f"Not used for planning: {', '.join(heads)}." if heads else "",
            "Planning is towards a goal in its latent space: planning for its reward, with its value and policy, would take a "
            "task without a goal and a cost of each step's action.",
        ),
        given=given,
        asks_environment=several,
    )


def convert(found: Found, task: Task, encoder_path: Path | None = None) -> Imported:
    """The model in our format, for a task. Raises UserError if sizes do not fit or an encoder file is given."""
    require(encoder_path is None, f"a TD-MPC2 checkpoint holds its encoder: leave {encoder_path} out.")
    agent = _agent(found.path, found.given.weights)
    if agent is None:
        raise UserError(f"{found.path} is no longer a TD-MPC2 checkpoint: it changed while it was read.")
    tensors = agent.tensors
    sizes = _sizes(found.path, tensors)
    if is_multitask(tensors):
        name = str(found.sizes.get("environment"))
        tensors = single_task(found.path, tensors, name, task.observation_dim, sizes.latent_dim)
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
        notes=(
            f"SimNorm groups of {SIMNORM_GROUP}, as in every published model: the file does not tell.",
            *agent.notes,
        ),
    )


def parts(card: Card, tensors: Tensors) -> Parts:
    """The parts of an imported checkpoint (`world_models.checkpoints.formats`)."""
    decode = take_readout(tensors)
    with torch.device("meta"):
        model = TDMPC2(TDMPC2Config(**model_config(card)))
    model.load_state_dict(tensors, assign=True)
    return Parts(model, {"latent": SquaredDistance()}, "latent", decode)


def _agent(path: Path, choice: Choice | None) -> Weights | None:
    """The state dict of a TD-MPC2 checkpoint; None for a file of another kind."""
    found = find_weights(read_content(path), (f"{DYNAMICS}0.weight",), choice)
    ours = found is not None and any(key.startswith("_encoder.") for key in found.tensors)
    return found if ours else None


def _sizes(path: Path, tensors: Mapping[str, Tensor]) -> TDMPC2Config:
    """Sizes inferred from the shapes, where `action_dim` is the size of a whole model step's action."""
    pictures = tensors.get("_encoder.rgb.2.weight")
    if pictures is not None or any(key.startswith("_encoder.rgb.") for key in tensors):
        frames = f"{pictures.shape[1] // 3} " if pictures is not None and pictures.ndim == 4 else ""
        raise UserError(
            f"{path} is a TD-MPC2 model of {frames}stacked images of 64 px: it would take a sensor that stacks frames, and its "
            "convolutional encoder here; only models of state observations can be read."
        )
    if is_multitask(tensors):
        check_tasks(path, tensors)
    task = tensors[EMBEDDINGS].shape[1] if is_multitask(tensors) else 0
    encoder, dynamics = _layers(path, tensors, ENCODER), _layers(path, tensors, DYNAMICS)
    latent = encoder[-1][0]
    require(
        dynamics[-1][0] == latent and dynamics[0][1] > latent + task and encoder[0][1] > task and latent % SIMNORM_GROUP == 0,
        f"{path}: dynamics from {dynamics[0][1]} to {dynamics[-1][0]} features do not fit a latent of {latent}.",
    )
    return TDMPC2Config(
        observation_dim=encoder[0][1] - task,
        action_dim=dynamics[0][1] - latent - task,
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
    """Encoder and dynamics under our names, in float32."""
    names = {ENCODER: "encoder.", DYNAMICS: "dynamics."}
    return in_single_precision(
        {
            ours + key.removeprefix(theirs): value
            for theirs, ours in names.items()
            for key, value in tensors.items()
            if key.startswith(theirs)
        }
    )
