"""LeWM's checkpoints: a `weights.pt` state dict (with or without a `config.json` next to it), a training checkpoint that
contains one, or the whole pickled module (github.com/lucas-maes/le-wm, github.com/galilai-group/stable-worldmodel)."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import torch

from world_models.adapters.base import NOTHING, Found, Given, Imported
from world_models.adapters.files import fitted
from world_models.adapters.lewm.model import LeWM, LeWMConfig
from world_models.adapters.lewm.reading import Contents, read
from world_models.adapters.origins import HEAD_DIM
from world_models.adapters.readout import take_readout
from world_models.base import SquaredDistance
from world_models.errors import UserError, require
from world_models.parts import Card, Parts, Tensors, model_config
from world_models.sensors import Sensors
from world_models.tasks.base import Task

KIND = "lewm"
FORMAT = "grasp-orchestrator/lewm/1"

_PUSH_T = (-0.0087, 0.0068), (0.2019, 0.2002)
ACTION_STATISTICS = {"push_t": _PUSH_T, "push_t_upstream": _PUSH_T}
"""Mean and deviation of the training data's environment actions by task, in our units. Push-T: DINO-WM's expert data, on which
LeWM was trained too (github.com/gaoyuezhou/dino_wm, datasets/pusht_dset.py); an action of 1 is 100 px in both."""


def recognise(path: Path, given: Given = NOTHING) -> Found | None:
    """Description of a LeWM file; None for another kind. Raises UserError if layers are missing or of an unknown variant."""
    contents = read(path, given.weights)
    return described(path, contents, given) if contents is not None and contents.kind == KIND else None


def convert(found: Found, task: Task, encoder_path: Path | None = None) -> Imported:
    """The model in our format, for a task. Raises UserError if action sizes do not fit or an encoder file is given.

    The tensors `action_mean` and `action_std` convert the task's actions to the model's units; a task whose statistics are
    unknown gets 0 and 1, and a note says so.
    """
    return converted(found, task, encoder_path, "LeWM", FORMAT)


def described(path: Path, contents: Contents, given: Given) -> Found:
    """Description of a file of either kind."""
    config = contents.sizes
    sizes: dict[str, int | str] = {
        "pictures": f"{config.image_size} px in patches of {config.patch_size}",
        "encoder": f"ViT {config.vit_width} wide, {config.vit_depth} deep, {config.vit_heads} heads",
        "latent": config.latent_dim,
        "predictor": f"{config.width} wide, {config.depth} deep, {config.heads} heads",
        "history": config.history,
    }
    if contents.environment is not None:
        sizes["environment"] = contents.environment
    return Found(
        kind=contents.kind,
        path=path,
        sizes=sizes,
        action_size=config.action_dim,
        notes=(
            *contents.notes,
            "Actions were standardised with the training data's mean and deviation, which the file does not hold: "
            f"known for {', '.join(ACTION_STATISTICS)}, otherwise give them (--action-mean, --action-std).",
            "It was trained on stable-worldmodel's pictures, which push_t_upstream has; those of our other tasks look "
            "different, so that states may be worse than published.",
        ),
        given=given,
        asks_environment=True,
    )


def converted(found: Found, task: Task, encoder_path: Path | None, name: str, form: str) -> Imported:
    """The model of either kind in our format; raises UserError as `convert` does."""
    require(encoder_path is None, f"a {name} checkpoint holds its encoder: leave {encoder_path} out.")
    contents = read(found.path, found.given.weights)
    if contents is None:
        raise UserError(f"{found.path} is no longer a {name} checkpoint: it changed while it was read.")
    sizes = contents.sizes
    size = task.action_dim * task.action_block
    if sizes.action_dim != size:
        fits = sizes.action_dim % task.action_dim == 0
        advice = f"set action_block to {sizes.action_dim // task.action_dim}" if fits else "choose another task"
        raise UserError(
            f"{found.path} takes actions of size {sizes.action_dim}, and a model step of task {task.name!r} has {size} "
            f"(action size x action_block): {advice}."
        )
    config = replace(sizes, action_dim=task.action_dim, action_block=task.action_block)
    mean, deviation = ACTION_STATISTICS.get(task.name, ((0.0,) * task.action_dim, (1.0,) * task.action_dim))
    own = {**contents.tensors, "action_mean": torch.tensor(mean), "action_std": torch.tensor(deviation)}
    with torch.device("meta"):
        wanted = LeWM(config).state_dict()
    known = "of the published training data" if task.name in ACTION_STATISTICS else "not known and left out"
    assumed = f"No config.json next to the file: {HEAD_DIM} features per head, as in every published model."
    return Imported(
        format=form,
        config=asdict(config),
        tensors=fitted(found.path, own, wanted),
        sensors={"kind": "pixels", "size": config.image_size, "proprioception": 0},
        goal_cost="latent",
        notes=(
            f"Mean and deviation of actions: {known}.",
            *(() if contents.has_settings else (assumed,)),
            *contents.notes,
        ),
    )


def parts(card: Card, tensors: Tensors) -> Parts:
    """The parts of an imported checkpoint (`world_models.checkpoints.formats`)."""
    decode = take_readout(tensors)
    with torch.device("meta"):
        model = LeWM(LeWMConfig(**model_config(card)))
    model.load_state_dict(tensors, assign=True)
    return Parts(model, {"latent": SquaredDistance()}, "latent", decode, Sensors.of(card))
