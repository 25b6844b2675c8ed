"""Contents of LeWM's and PLDM's checkpoints: tensors under our names, sizes, and what is around them.

Both projects' models (github.com/galilai-group/stable-worldmodel, github.com/lucas-maes/le-wm) consist of the same parts under
the same names: settings, classes or other networks in the file tell one from the other. Sizes are inferred from the shapes; the
number of heads, which no shape tells, comes from the settings, or else from the published models (64 features per head).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

from torch import Tensor

from world_models.adapters.files import Content, read_file
from world_models.adapters.lewm.model import LeWMConfig
from world_models.adapters.origins import (
    HEAD_DIM,
    PATH_PARTS,
    Settings,
    entry_of,
    environment_of,
    predictor_heads,
    settings_around,
    targets_in,
)
from world_models.adapters.weights import Choice, find_weights, in_single_precision
from world_models.errors import UserError, require

MARKS = ("encoder.embeddings.cls_token", "predictor.pos_embedding", "action_encoder.patch_embed.weight")
"""Tensors that identify these models."""

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


@dataclass(frozen=True)
class Contents:
    """A checkpoint of one of the two kinds."""

    kind: str
    """`lewm` or `pldm`."""
    tensors: dict[str, Tensor]
    """The state dict under our names, in float32."""
    sizes: LeWMConfig
    """Sizes, where `action_dim` is the size of a whole model step's action."""
    environment: str | None
    """The environment of the training; None if nothing tells it."""
    has_settings: bool
    """Whether the file, or the settings around it, tell the predictor's heads."""
    notes: tuple[str, ...]


def read(path: Path, weights: Choice | None = None) -> Contents | None:
    """The contents of a file; None for another kind. Raises UserError if layers are missing or of an unknown variant."""
    content = read_file(path)
    found = find_weights(content.entries, MARKS, weights)
    if found is None:
        return None
    settings = settings_around(path, content.entries)
    renamed = {own_name(key): value for key, value in found.tensors.items() if not UNUSED.search(key)}
    tensors = in_single_precision(renamed)
    kind = "pldm" if _is_pldm(path, (*targets_in(settings), *content.module_classes()), settings, found.neighbours) else "lewm"
    sizes, told = _sizes(path, tensors, settings, content)
    return Contents(kind, tensors, sizes, environment_of(path, settings), told, found.notes)


def own_name(key: str) -> str:
    """The name of a tensor in our model."""
    for pattern, name in OLD_VIT_NAMES:
        key = re.sub(pattern, name, key)
    return key


def _is_pldm(path: Path, names: Iterable[str], settings: Sequence[Settings], neighbours: frozenset[str]) -> bool:
    """Whether a model is a PLDM, by its classes, else by the networks beside it, else by the names of its run and path."""
    classes = [name.lower() for name in names]
    if any(".pldm" in name for name in classes):
        return True
    if any(".lewm" in name or name == "jepa.jepa" for name in classes) or "sigreg" in neighbours:
        return False
    runs = [str(each.get("output_model_name", "")) for each in settings]
    return "idm" in neighbours or any("pldm" in text.lower() for text in (*runs, *path.absolute().parts[-PATH_PARTS:]))


def _sizes(
    path: Path, tensors: Mapping[str, Tensor], settings: Sequence[Settings], content: Content
) -> tuple[LeWMConfig, bool]:
    """Sizes inferred from the shapes, where `action_dim` is the size of a whole model step's action.

    And whether anything tells the predictor's heads.

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
    pickled = content.module_values("predictor.transformer.layers.0.attn").get("heads")
    (heads, head_dim), told = predictor_heads(path, qkv // 3, pickled, settings)
    sizes = LeWMConfig(
        action_dim=action,
        action_block=1,
        history=history,
        image_size=side * patch,
        patch_size=patch,
        vit_width=width,
        vit_depth=_depth(tensors, "encoder.layers."),
        vit_heads=_encoder_heads(path, width, entry_of(settings, "encoder")),
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
    return sizes, told


def _depth(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return len({key[len(prefix) :].split(".")[0] for key in tensors if key.startswith(prefix)})


def _norm(tensors: Mapping[str, Tensor]) -> str:
    if "projector.net.1.running_mean" in tensors:
        return "batch"
    return "layer" if "projector.net.1.weight" in tensors else "none"


def _encoder_heads(path: Path, width: int, entry: Settings) -> int:
    names = {"tiny": 3, "small": 6, "base": 12, "large": 16, "huge": 16}
    given = entry.get("num_attention_heads")  # an encoder's own setting, which stands above its size's
    if isinstance(given, int) and given > 0:
        return given
    named = entry.get("size")
    if named in names:
        return names[str(named)]
    require(
        width % HEAD_DIM == 0, f"{path}: the number of heads of an encoder of width {width} is unknown: add its config.json."
    )
    return width // HEAD_DIM
