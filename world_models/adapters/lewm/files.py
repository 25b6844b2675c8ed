"""Reading of LeWM's checkpoints: a `weights.pt` state dict (with or without a `config.json` next to it), a training checkpoint
that contains one, or the whole pickled module.

Layout after github.com/lucas-maes/le-wm and github.com/galilai-group/stable-worldmodel. Sizes are inferred from the shapes; the
number of heads, which no shape tells, comes from `config.json`, or else from the published models (64 features per head).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from math import isqrt
from pathlib import Path

import torch
from torch import Tensor

from world_models.adapters.base import Found, Imported
from world_models.adapters.files import fitted, nested, read_content, sibling_config, tensors_in
from world_models.adapters.lewm.model import LeWM, LeWMConfig
from world_models.adapters.readout import take_readout
from world_models.base import SquaredDistance
from world_models.errors import UserError, require
from world_models.parts import Card, Parts, Tensors, model_config
from world_models.sensors import Sensors
from world_models.tasks.base import Task

KIND = "lewm"
FORMAT = "grasp-orchestrator/lewm/1"

ACTION_STATISTICS = {"push_t": ((-0.0087, 0.0068), (0.2019, 0.2002))}
"""Mean and deviation of the training data's environment actions by task, in our units. Push-T: DINO-WM's expert data, on which
LeWM was trained too (github.com/gaoyuezhou/dino_wm, datasets/pusht_dset.py); an action of 1 is 100 px in both."""

OLD_VIT_NAMES = (
    (r"^encoder\.encoder\.layer\.(\d+)\.", r"encoder.layers.\1."),
    (r"\.attention\.attention\.query\.", ".attention.q_proj."),
    (r"\.attention\.attention\.key\.", ".attention.k_proj."),
    (r"\.attention\.attention\.value\.", ".attention.v_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"^(encoder\.layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
)
"""Substitutions from transformers 4's names inside the ViT, used in published files, to those of transformers 5, in order."""

UNUSED = re.compile(r"^(encoder\.pooler\.|encoder\.embeddings\.mask_token$|sigreg\.)|\.num_batches_tracked$")
"""Tensors that planning does not need."""

HEAD_DIM = 64
"""Features per head in every published model, in the encoder (ViT tiny to large) and in the predictor."""


def recognise(path: Path) -> Found | None:
    """Description of a LeWM file; None for another kind. Raises UserError if layers are missing or of an unknown variant."""
    tensors = _tensors(path)
    if tensors is None:
        return None
    config = _sizes(path, tensors)
    return Found(
        kind=KIND,
        path=path,
        sizes={
            "pictures": f"{config.image_size} px in patches of {config.patch_size}",
            "encoder": f"ViT {config.vit_width} wide, {config.vit_depth} deep, {config.vit_heads} heads",
            "latent": config.latent_dim,
            "predictor": f"{config.width} wide, {config.depth} deep, {config.heads} heads",
            "history": config.history,
        },
        action_size=config.action_dim,
        notes=(
            "Actions were standardised with the training data's mean and deviation, which the file does not hold: "
            f"known for {', '.join(ACTION_STATISTICS)}, otherwise give them (--action-mean, --action-std).",
            "It was trained on stable-worldmodel's images; ours look different, so states may be worse than published.",
        ),
    )


def convert(found: Found, task: Task, encoder_path: Path | None = None) -> Imported:
    """The model in our format, for a task. Raises UserError if action sizes do not fit or an encoder file is given.

    The tensors `action_mean` and `action_std` convert the task's actions to the model's units; a task whose statistics are
    unknown gets 0 and 1, and a note says so.
    """
    require(encoder_path is None, f"a LeWM checkpoint holds its encoder: leave {encoder_path} out.")
    tensors = _tensors(found.path)
    require(tensors is not None, f"{found.path} is no longer a LeWM checkpoint: it changed while it was read.")
    assert tensors is not None
    sizes = _sizes(found.path, tensors)
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
    own = {**tensors, "action_mean": torch.tensor(mean), "action_std": torch.tensor(deviation)}
    with torch.device("meta"):
        wanted = LeWM(config).state_dict()
    known = "of the published training data" if task.name in ACTION_STATISTICS else "not known and left out"
    return Imported(
        format=FORMAT,
        config=asdict(config),
        tensors=fitted(found.path, own, wanted),
        sensors={"kind": "pixels", "size": config.image_size, "proprioception": 0},
        goal_cost="latent",
        notes=(f"Mean and deviation of actions: {known}.", *_assumed(found.path)),
    )


def parts(card: Card, tensors: Tensors) -> Parts:
    """The parts of an imported checkpoint (`world_models.checkpoints.formats`)."""
    decode = take_readout(tensors)
    with torch.device("meta"):
        model = LeWM(LeWMConfig(**model_config(card)))
    model.load_state_dict(tensors, assign=True)
    return Parts(model, {"latent": SquaredDistance()}, "latent", decode, Sensors.of(card))


def _tensors(path: Path) -> dict[str, Tensor] | None:
    """The state dict of a LeWM checkpoint under our names, in float32; None for a file of another kind."""
    tensors = tensors_in(nested(read_content(path), "state_dict", "model"))
    if any(key.startswith("model.encoder.") for key in tensors):
        tensors = {key.removeprefix("model."): value for key, value in tensors.items()}
    if not {"encoder.embeddings.cls_token", "predictor.pos_embedding", "action_encoder.patch_embed.weight"} <= set(tensors):
        return None
    renamed = {_own_name(key): value for key, value in tensors.items() if not UNUSED.search(key)}
    return {key: value.detach().float().clone() for key, value in renamed.items()}


def _own_name(key: str) -> str:
    for pattern, name in OLD_VIT_NAMES:
        key = re.sub(pattern, name, key)
    return key


def _sizes(path: Path, tensors: Mapping[str, Tensor]) -> LeWMConfig:
    """Sizes inferred from the shapes, where `action_dim` is the size of a whole model step's action.

    Raises UserError for a missing tensor.
    """

    def shape(name: str, dimensions: int) -> tuple[int, ...]:
        if name not in tensors or tensors[name].ndim != dimensions:
            raise UserError(f"{path} looks like LeWM but has no valid tensor {name}: it is truncated or of another variant.")
        return tuple(tensors[name].shape)

    width, _, patch, _ = shape("encoder.embeddings.patch_embeddings.projection.weight", 4)
    side = isqrt(max(shape("encoder.embeddings.position_embeddings", 3)[1] - 1, 0))
    _, history, latent = shape("predictor.pos_embedding", 3)
    qkv, predictor_width = shape("predictor.transformer.layers.0.attn.to_qkv.weight", 2)
    channels, action, _ = shape("action_encoder.patch_embed.weight", 3)
    heads, head_dim = _predictor_heads(path, qkv // 3)
    return LeWMConfig(
        action_dim=action,
        action_block=1,
        history=history,
        image_size=side * patch,
        patch_size=patch,
        vit_width=width,
        vit_depth=_depth(tensors, "encoder.layers."),
        vit_heads=_encoder_heads(path, width),
        vit_mlp=shape("encoder.layers.0.mlp.fc1.weight", 2)[0],
        latent_dim=latent,
        projector_width=shape("projector.net.0.weight", 2)[0],
        projector_norm=_norm(tensors),
        action_width=channels,
        action_hidden=shape("action_encoder.embed.0.weight", 2)[0],
        width=predictor_width,
        depth=_depth(tensors, "predictor.transformer.layers."),
        heads=heads,
        head_dim=head_dim,
        mlp=shape("predictor.transformer.layers.0.mlp.net.1.weight", 2)[0],
    )


def _depth(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return len({key[len(prefix) :].split(".")[0] for key in tensors if key.startswith(prefix)})


def _norm(tensors: Mapping[str, Tensor]) -> str:
    if "projector.net.1.running_mean" in tensors:
        return "batch"
    return "layer" if "projector.net.1.weight" in tensors else "none"


def _encoder_heads(path: Path, width: int) -> int:
    names = {"tiny": 3, "small": 6, "base": 12, "large": 16, "huge": 16}
    named = _entry(path, "encoder").get("size")
    if named in names:
        return names[str(named)]
    require(
        width % HEAD_DIM == 0, f"{path}: the number of heads of an encoder of width {width} is unknown: add its config.json."
    )
    return width // HEAD_DIM


def _predictor_heads(path: Path, inner: int) -> tuple[int, int]:
    """Number of heads, and features per head."""
    entry = _entry(path, "predictor")
    heads, head_dim = entry.get("heads"), entry.get("dim_head", HEAD_DIM)
    if isinstance(heads, int) and isinstance(head_dim, int):
        require(heads * head_dim == inner, f"{path} has {inner} attention features, its config.json {heads} x {head_dim}.")
        return heads, head_dim
    require(
        inner > 0 and inner % HEAD_DIM == 0, f"{path}: the number of heads for {inner} features is unknown: add config.json."
    )
    return inner // HEAD_DIM, HEAD_DIM


def _entry(path: Path, name: str) -> Mapping[str, object]:
    entry = sibling_config(path).get(name)
    return entry if isinstance(entry, Mapping) else {}


def _assumed(path: Path) -> tuple[str, ...]:
    if _entry(path, "predictor"):
        return ()
    return (f"No config.json next to the file: {HEAD_DIM} features per head, as in every published model.",)
