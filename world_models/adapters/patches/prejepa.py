"""stable-worldmodel's PreJEPA (its `dinowm` and `dinowm_noprop`): DINO-WM's architecture under names of its own.

`backbone.*` is the encoder under the names of transformers, `predictor.*` DINO-WM's predictor, `extra_encoders.*` the
embeddings of actions and proprioception. A `weights.pt` beside `config.json`, or a training checkpoint around them
(github.com/galilai-group/stable-worldmodel).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from world_models.adapters.base import NOTHING, Found, Given, Imported
from world_models.adapters.files import read_file
from world_models.adapters.origins import (
    HEAD_DIM,
    Settings,
    entry_of,
    environment_of,
    predictor_heads,
    settings_around,
)
from world_models.adapters.patches.dino_wm import FORMAT, PROPRIOCEPTION_WEIGHT
from world_models.adapters.patches.dinov2 import DinoConfig
from world_models.adapters.patches.hub_dinov2 import from_hub, is_hub_dinov2
from world_models.adapters.patches.importing import (
    assemble,
    check_task,
    count_parameters,
    embedding,
    shape_of,
    square_side,
)
from world_models.adapters.patches.jepa_wms import IMAGENET_MEAN, IMAGENET_STD
from world_models.adapters.patches.model import PatchConfig
from world_models.adapters.weights import Choice, find_weights, in_single_precision
from world_models.errors import UserError, require
from world_models.tasks.base import Task

KIND = "prejepa"

FIRST_LAYER = "transformer.layers.0.0."
MARKS = ("predictor.pos_embedding", f"predictor.{FIRST_LAYER}to_qkv.weight", "extra_encoders.action.patch_embed.weight")
"""Tensors that identify such a model."""

MASK = re.compile(r"transformer\.layers\.\d+\.0\.bias")
"""Names of the causal masks, which the model makes itself."""

TRAINED = "pusht"
"""The environment whose means and deviations are known; its recordings are DINO-WM's."""


@dataclass(frozen=True)
class _Layout:
    """Contents of a state dict."""

    predictor: dict[str, Tensor]
    action: tuple[Tensor, Tensor]
    proprioception: tuple[Tensor, Tensor] | None
    encoder: tuple[DinoConfig, dict[str, Tensor]]
    side: int
    frames: int
    heads: int
    head_dim: int
    history: int
    environment: str | None
    notes: tuple[str, ...]


def recognise(path: Path, given: Given = NOTHING) -> Found | None:
    """Description of a PreJEPA file; None for another kind.

    Raises UserError if it is damaged, or has an encoder or inputs that are not supported.
    """
    layout = _read(path, given.weights)
    if layout is None:
        return None
    sizes: dict[str, int | str] = {
        "patches": layout.side**2,
        "token": layout.predictor["pos_embedding"].shape[2],
        "history": layout.history,
        "depth": _depth(layout.predictor),
        "heads": layout.heads,
        "parameters": count_parameters(layout.predictor),
    }
    if layout.environment is not None:
        sizes["environment"] = layout.environment
    return Found(
        KIND,
        path,
        sizes,
        action_size=layout.action[0].shape[1],
        proprioception_dim=layout.proprioception[0].shape[1] if layout.proprioception else 0,
        notes=(
            *layout.notes,
            "Means and deviations of actions and proprioception are those of DINO-WM's recordings of Push-T, which "
            "stable-worldmodel has converted.",
        ),
        given=given,
        asks_environment=True,
    )


def convert(found: Found, task: Task, encoder_path: Path | None = None) -> Imported:
    """The model in our format, for a task; raises UserError if it does not fit or an encoder file is given."""
    require(encoder_path is None, f"a PreJEPA checkpoint holds its encoder: leave {encoder_path} out.")
    units = check_task(found, task)
    require(
        units.environment == TRAINED,
        f"{found.path} needs the means and deviations of its training data, which are known for push_t and push_t_upstream "
        f"only: it cannot be imported for {task.name}.",
    )
    layout = _read(found.path, found.given.weights)
    if layout is None:
        raise UserError(f"{found.path} is no longer a PreJEPA checkpoint: it changed while it was read.")
    encoder, encoder_weights = layout.encoder
    config = PatchConfig(
        action_dim=task.action_dim,
        action_block=task.action_block,
        predictor="causal-vit",
        history=layout.history,
        frames=layout.frames,
        side=layout.side,
        depth=_depth(layout.predictor),
        heads=layout.heads,
        hidden=shape_of(layout.predictor, "transformer.layers.0.1.net.1.weight", 2, found.path)[0],
        head_dim=layout.head_dim,
        action_embedding=layout.action[0].shape[0],
        proprioception=layout.proprioception[0].shape[1] if layout.proprioception else 0,
        body_embedding=layout.proprioception[0].shape[0] if layout.proprioception else 0,
        body_weight=PROPRIOCEPTION_WEIGHT,
        picture=layout.side * encoder.patch,
        pixel_mean=IMAGENET_MEAN,
        pixel_std=IMAGENET_STD,
        encoder=encoder,
    )
    tensors = {f"predictor.{name}": value for name, value in layout.predictor.items()}
    tensors["action_encoder.weight"], tensors["action_encoder.bias"] = layout.action
    if layout.proprioception:
        tensors["body_encoder.weight"], tensors["body_encoder.bias"] = layout.proprioception
    return assemble(found, FORMAT, config, units, tensors, encoder_weights)


def _read(path: Path, choice: Choice | None) -> _Layout | None:
    """The contents of a file; None for another kind."""
    content = read_file(path)
    found = find_weights(content.entries, MARKS, choice)
    if found is None or not any(name.startswith("backbone.") for name in found.tensors):
        return None
    settings = settings_around(path, content.entries)
    tensors = in_single_precision(found.tensors)
    predictor, backbone = _inside(tensors, "predictor."), _inside(tensors, "backbone.")
    mask = predictor.get(f"{FIRST_LAYER}bias")
    if mask is None or mask.ndim != 4:
        raise UserError(f"{path}: its attention has no causal mask, which tells the number of patches: save all tensors of it.")
    patches = int(mask[0, 0, 0].sum())
    side, positions = square_side(patches, path), shape_of(predictor, "pos_embedding", 3, path)[1]
    frames, rest = divmod(positions, max(patches, 1))
    require(
        rest == 0 and frames > 0,
        f"{path}: {positions} positions do not divide into frames of {patches} patches: it is damaged.",
    )
    _check_encoder(path, backbone, settings)
    action, proprioception, ordered = _embeddings(path, tensors, predictor, settings)
    inner = shape_of(ordered, f"{FIRST_LAYER}to_qkv.weight", 2, path)[0] // 3
    pickled = content.module_values("predictor.transformer.layers.0.0").get("heads")
    (heads, head_dim), told = predictor_heads(path, inner, pickled, settings)
    assumed = () if told else (f"Nothing tells the number of heads: {HEAD_DIM} features each, as in every published model.",)
    return _Layout(
        {name: value for name, value in ordered.items() if not MASK.fullmatch(name)},
        action,
        proprioception,
        from_hub(backbone, side, f"the backbone in {path}"),
        side,
        frames,
        heads,
        head_dim,
        _history(settings, frames),
        environment_of(path, settings),
        (*found.notes, *assumed),
    )


def _inside(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _check_encoder(path: Path, backbone: Mapping[str, Tensor], settings: Sequence[Settings]) -> None:
    named = entry_of(settings, "encoder").get("name")
    require(
        is_hub_dinov2(backbone),
        f"{path} was trained on another encoder than DINOv2{f' ({named})' if isinstance(named, str) else ''}: it would take "
        "that encoder's architecture here; only DINOv2 without registers and gated MLPs is supported.",
    )


def _embeddings(
    path: Path, tensors: Mapping[str, Tensor], predictor: Mapping[str, Tensor], settings: Sequence[Settings]
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor] | None, dict[str, Tensor]]:
    """Embeddings of actions and of proprioception, and the predictor for tokens in which they follow the image in our order."""
    names = list(dict.fromkeys(name.split(".")[1] for name in tensors if name.startswith("extra_encoders.")))
    other = [name for name in names if name not in ("action", "proprio")]
    require(
        not other,
        f"{path} also takes {', '.join(other)}: it would take a sensor for that here; only proprio and action are supported.",
    )
    action = embedding(_inside(tensors, "extra_encoders.action."), "action", path)
    if "proprio" not in names:
        return action, None, dict(predictor)
    proprioception = embedding(_inside(tensors, "extra_encoders.proprio."), "proprioception", path)
    if path.suffix == ".safetensors":  # whose names are sorted
        told = entry_of(settings, "extra_encoders")
        inside = told.get("modules", told)
        names = [name for name in inside if name in names] if isinstance(inside, Mapping) else []
        require(len(names) == 2, f"{path} does not tell the order of proprio and action: put its config.json beside it.")
    if names[0] == "proprio":
        return action, proprioception, dict(predictor)
    return action, proprioception, _reordered(path, predictor, action[0].shape[0], proprioception[0].shape[0])


def _reordered(path: Path, predictor: Mapping[str, Tensor], first: int, second: int) -> dict[str, Tensor]:
    """The predictor of tokens whose last `second` features come before the `first` ones that preceded them."""
    width = shape_of(predictor, "pos_embedding", 3, path)[2]
    visual = width - first - second
    order = torch.cat([torch.arange(visual), torch.arange(visual + first, width), torch.arange(visual, visual + first)])
    columns = ("to_qkv.weight", "1.net.1.weight", "pos_embedding")
    rows = ("to_out.0.weight", "to_out.0.bias", "1.net.4.weight", "1.net.4.bias", "norm.weight", "norm.bias")
    rows = (*rows, "1.net.0.weight", "1.net.0.bias")
    found = {}
    for name, value in predictor.items():
        axis = -1 if name.endswith(columns) else 0 if name.endswith(rows) else None
        found[name] = value if axis is None or value.shape[axis] != width else value.index_select(axis, order)
    return found


def _history(settings: Sequence[Settings], frames: int) -> int:
    told = next((each["history_size"] for each in settings if isinstance(each.get("history_size"), int)), frames)
    assert isinstance(told, int)
    require(0 < told <= frames, f"a history of {told} does not fit positions of {frames} frames: mend its config.json.")
    return told


def _depth(predictor: Mapping[str, Tensor]) -> int:
    return sum(1 for name in predictor if name.endswith(".0.to_qkv.weight"))
