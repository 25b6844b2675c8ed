"""jepa-wms' checkpoints (facebookresearch/jepa-wms): `.pth.tar`, a mapping of state dicts whose keys may begin with `module.`.

Supported are the models on DINOv2 ViT-S/14: jepa-wms' own (predictor with adaptive norms) and its DINO-WM baselines. Sizes that
no tensor shows are those of the configurations in `configs/evals/simu_env_planning` of that repository.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from world_models.adapters.base import NOTHING, Found, Given, Imported
from world_models.adapters.patches.dinov2 import NAMES
from world_models.adapters.patches.importing import (
    WEIGHTS,
    assemble,
    check_task,
    count_parameters,
    embedding,
    encoder_tensors,
    shape_of,
)
from world_models.adapters.patches.model import PatchConfig
from world_models.adapters.pickles.unpickle import ClassNames, names_in, read_modules
from world_models.adapters.weights import plain_name, plain_names, trained_only
from world_models.errors import UserError, require
from world_models.parts import PREFIX as FORMAT_PREFIX
from world_models.tasks.base import Task

KIND = "jepa-wms"
FORMAT = f"{FORMAT_PREFIX}jepa-wms/1"

PLAIN = ClassNames(())
"""Names for files of tensors and plain values only."""
HEADS = 16
"""`pred_num_heads` of every published configuration."""
SIDE = 16
"""Number of patches along an image of 224 px."""
HISTORY = 2
"""`ctxt_window` of every published planning configuration."""
FRAMES = 4
"""`num_frames_pred`: number of frames in a training sequence."""
PROPRIOCEPTION_WEIGHT = 0.1
"""`alpha` of the published planning configurations of Push-T, point maze and wall."""
ENCODER_WIDTH = 384
"""Token width of DINOv2 ViT-S/14; the models on DINOv3 and V-JEPA 2 have wider tokens."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation of images for jepa-wms' own predictors; the DINO-WM baselines use 0.5 and 0.5."""


@dataclass(frozen=True)
class _Layout:
    """Contents of a file's state dicts."""

    kind: str
    """Predictor: `causal-vit` or `modulated-vit`."""
    predictor: dict[str, Tensor]
    action: tuple[Tensor, Tensor]
    proprioception: tuple[Tensor, Tensor] | None
    frames: int
    depth: int


def recognise(path: Path, given: Given = NOTHING) -> Found | None:
    """Description of a jepa-wms checkpoint; None for other files.

    Raises UserError if it is damaged, or its encoder or predictor is not supported.
    """
    if path.is_dir() or path.suffix == ".safetensors" or any(name not in PLAIN for name in names_in(path)):
        return None
    parts = read_modules(path, PLAIN)
    if not _looks_right(parts):
        return None
    trained_only(given.weights, "jepa-wms")
    layout = _layout(parts, path)
    own = layout.kind == "modulated-vit"
    return Found(
        KIND,
        path,
        {
            "model": "jepa-wm" if own else "dino-wm baseline",
            "patches": SIDE**2,
            "history": HISTORY,
            "depth": layout.depth,
            "heads": HEADS,
            "parameters": count_parameters(layout.predictor),
        },
        needs=(WEIGHTS,),
        action_size=layout.action[0].shape[1],
        proprioception_dim=layout.proprioception[0].shape[1] if layout.proprioception else 0,
        notes=("Heads, history and the goal cost's proprioception weight are those of the published configurations.",),
        given=given,
    )


def convert(found: Found, task: Task, encoder_path: Path | None = None) -> Imported:
    """The model in our format, for a task; raises UserError if it does not fit or the encoder's weights are missing."""
    units = check_task(found, task)
    layout = _layout(read_modules(found.path, PLAIN), found.path)
    encoder, encoder_weights = encoder_tensors(None, None, encoder_path, found.path)
    wanted = NAMES[ENCODER_WIDTH]
    require(
        encoder.width == ENCODER_WIDTH, f"{encoder_path} has tokens of width {encoder.width}: give the weights of {wanted}."
    )
    own = layout.kind == "modulated-vit"
    state, path = layout.predictor, found.path
    widen = "predictor_blocks.0.mlp.fc1.weight" if own else "transformer.layers.0.1.net.1.weight"
    heads = 3 * HEADS if own else shape_of(state, "transformer.layers.0.0.to_qkv.weight", 2, path)[0]
    config = PatchConfig(
        action_dim=task.action_dim,
        action_block=task.action_block,
        predictor=layout.kind,
        history=HISTORY,
        frames=layout.frames,
        side=SIDE,
        depth=layout.depth,
        heads=HEADS,
        hidden=shape_of(state, widen, 2, path)[0],
        head_dim=heads // (3 * HEADS),
        width=shape_of(state, "predictor_embed.weight", 2, path)[0] if own else ENCODER_WIDTH,
        action_embedding=layout.action[0].shape[0],
        proprioception=layout.proprioception[0].shape[1] if layout.proprioception else 0,
        body_embedding=layout.proprioception[0].shape[0] if layout.proprioception else 0,
        body_weight=PROPRIOCEPTION_WEIGHT,
        body_everywhere=True,
        pixel_mean=IMAGENET_MEAN if own else (0.5, 0.5, 0.5),
        pixel_std=IMAGENET_STD if own else (0.5, 0.5, 0.5),
        encoder=encoder,
    )
    tensors = {f"predictor.{name}": value for name, value in state.items()}
    tensors["action_encoder.weight"], tensors["action_encoder.bias"] = layout.action
    if layout.proprioception:
        tensors["body_encoder.weight"], tensors["body_encoder.bias"] = layout.proprioception
    return assemble(found, FORMAT, config, units, tensors, encoder_weights)


def _looks_right(parts: Mapping[str, object]) -> bool:
    predictor = parts.get("predictor")
    if not isinstance(predictor, dict):
        return False
    names = {plain_name(str(name)) for name in predictor}
    return any(name.startswith(("predictor_blocks.", "transformer.layers.")) for name in names)


def _layout(parts: Mapping[str, object], path: Path) -> _Layout:
    """The contents of the state dicts; raises UserError for an architecture that is not supported."""
    predictor = _state(parts, "predictor")
    proprioception = (
        embedding(_state(parts, "proprio_encoder"), "proprioception", path) if parts.get("proprio_encoder") else None
    )
    own = any(".adaLN_modulation." in name for name in predictor)
    if own:
        _check_modulated(predictor, proprioception, path)
    elif "pos_embedding" not in predictor:
        raise UserError(
            f"{path} holds the predictor of V-JEPA 2-AC, which is not supported: it would take that predictor and the V-JEPA 2 "
            "encoder here; only jepa-wm and dino-wm models can be read."
        )
    if "action_encoder.weight" in predictor and "action_encoder.bias" in predictor:
        shape_of(predictor, "action_encoder.weight", 2, path)
        action = predictor.pop("action_encoder.weight"), predictor.pop("action_encoder.bias")
    else:
        action = embedding(_state(parts, "action_encoder"), "action", path)
    for name in ("action_encoder", "proprio_encoder"):
        require(
            not any(key.startswith("mlp.") for key in _state(parts, name)),
            f"{path}: its {name} ends in an MLP, which is not supported: only single layers are.",
        )
    width = (
        shape_of(predictor, "predictor_embed.weight", 2, path)[1] if own else _width(predictor, action, proprioception, path)
    )
    require(
        width == ENCODER_WIDTH,
        f"{path} takes tokens of width {width}, as of DINOv3 or V-JEPA 2: it would take that encoder's architecture here and "
        f"its weights file; only models on DINOv2 ViT-S/14 (width {ENCODER_WIDTH}) are supported.",
    )
    pattern = re.compile(r"predictor_blocks\.(\d+)\." if own else r"transformer\.layers\.(\d+)\.")
    depth = len({found[1] for name in predictor if (found := pattern.match(name))})
    if own:
        return _Layout("modulated-vit", predictor, action, proprioception, FRAMES, depth)
    frames, rest = divmod(predictor["pos_embedding"].shape[1], SIDE**2)
    require(
        rest == 0 and frames >= HISTORY,
        f"{path}: its positions do not divide into frames of {SIDE**2} patches: the file is of another architecture.",
    )
    return _Layout("causal-vit", predictor, action, proprioception, frames, depth)


def _width(
    predictor: Mapping[str, Tensor], action: tuple[Tensor, Tensor], proprioception: tuple[Tensor, Tensor] | None, path: Path
) -> int:
    held = action[0].shape[0] + (proprioception[0].shape[0] if proprioception else 0)
    return shape_of(predictor, "pos_embedding", 3, path)[2] - held


def _check_modulated(predictor: Mapping[str, Tensor], proprioception: tuple[Tensor, Tensor] | None, path: Path) -> None:
    """Raise UserError for variants of the modulated predictor that are not supported."""
    width = shape_of(predictor, "predictor_embed.weight", 2, path)[0]
    full = shape_of(predictor, "predictor_norm.weight", 1, path)[0]
    token = proprioception is not None and full != width + proprioception[0].shape[0]
    require(
        not token, f"{path} gives proprioception to its predictor as a token: only proprioception as features is supported."
    )
    gated = "predictor_blocks.0.mlp.fc3.weight" in predictor
    require(not gated, f"{path}: its predictor has gated MLPs (SwiGLU), which are not supported.")


def _state(parts: Mapping[str, object], name: str) -> dict[str, Tensor]:
    """A state dict without the prefixes of wrappers and without masks; empty if the file has none."""
    held = parts.get(name)
    if not isinstance(held, dict):
        return {}
    found = plain_names({str(key): value for key, value in held.items() if isinstance(value, Tensor)})
    return {key: value for key, value in found.items() if not re.fullmatch(r"transformer\.layers\.\d+\.0\.bias", key)}
