"""DINO-WM's checkpoints (gaoyuezhou/dino_wm): `checkpoints/model_latest.pth`, a mapping of whole pickled modules.

They are read by the restricted unpickler. `hydra.yaml`, next to the `checkpoints` folder, is read if present; all sizes are
also in the modules themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from world_models.adapters.base import NOTHING, Found, Given, Imported
from world_models.adapters.patches.dinov2 import NAMES, DinoConfig, check_dinov2
from world_models.adapters.patches.importing import (
    WEIGHTS,
    assemble,
    check_task,
    count_parameters,
    embedding,
    encoder_tensors,
    shape_of,
    square_side,
)
from world_models.adapters.patches.model import PatchConfig
from world_models.adapters.pickles.unpickle import OPTIMISERS, ClassNames, ModuleRecord, describe, names_in, read_modules
from world_models.adapters.weights import trained_only, unwrapped
from world_models.errors import UserError, require
from world_models.files.yaml_reading import load_yaml
from world_models.parts import PREFIX as FORMAT_PREFIX
from world_models.tasks.base import Task

KIND = "dino-wm"
FORMAT = f"{FORMAT_PREFIX}dino-wm/1"

CLASSES = ClassNames(("models.*", "dinov2.*", "functools.partial", "torch.nn.parallel.*", *OPTIMISERS))
"""Names in these files: the project's own classes, the encoder's if it was trained, wrappers and optimisers."""

PREDICTOR = "models.vit.ViTPredictor"
PROPRIOCEPTION_WEIGHT = 1.0
"""`alpha` of the published planning configurations."""
PICTURE = 224


@dataclass(frozen=True)
class _Layout:
    """Contents of a file's modules."""

    predictor: dict[str, Tensor]
    action: tuple[Tensor, Tensor]
    proprioception: tuple[Tensor, Tensor] | None
    encoder: tuple[DinoConfig, dict[str, Tensor]] | None
    heads: int
    side: int
    frames: int
    width: int
    """Width of the encoder's tokens."""
    settings: dict[str, Any]
    """Settings in hydra.yaml; empty without one."""


def recognise(path: Path, given: Given = NOTHING) -> Found | None:
    """Description of a DINO-WM checkpoint; None for other files.

    Raises UserError if it is damaged, names other classes, or was trained in a way that is not supported.
    """
    if path.is_dir() or PREDICTOR not in names_in(path):
        return None
    trained_only(given.weights, "DINO-WM")
    layout = _read(path)
    depth = _depth(layout.predictor)
    sizes: dict[str, int | str] = {
        "patches": layout.side**2,
        "token": layout.predictor["pos_embedding"].shape[2],
        "history": layout.frames,
        "depth": depth,
        "heads": layout.heads,
        "parameters": count_parameters(layout.predictor),
    }
    name = _entry(layout.settings, "env", "name")
    if isinstance(name, str):
        sizes["environment"] = name
    block = layout.settings.get("frameskip")
    return Found(
        KIND,
        path,
        sizes,
        needs=() if layout.encoder else (WEIGHTS,),
        action_size=layout.action[0].shape[1],
        action_block=block if isinstance(block, int) else None,
        proprioception_dim=layout.proprioception[0].shape[1] if layout.proprioception else 0,
        notes=("The decoder is left out.",),
        given=given,
    )


def convert(found: Found, task: Task, encoder_path: Path | None = None) -> Imported:
    """The model in our format, for a task; raises UserError if it does not fit or the encoder's weights are missing."""
    units = check_task(found, task)
    layout = _read(found.path)
    held = layout.encoder
    encoder, encoder_weights = encoder_tensors(held and held[1], held and held[0], encoder_path, found.path)
    require(
        encoder.width == layout.width,
        f"{encoder_path} has tokens of width {encoder.width}, and {found.path} takes {layout.width}: give the weights of "
        f"{NAMES.get(layout.width, 'its encoder')}.",
    )
    queries = shape_of(layout.predictor, "transformer.layers.0.0.to_qkv.weight", 2, found.path)[0]
    hidden = shape_of(layout.predictor, "transformer.layers.0.1.net.1.weight", 2, found.path)[0]
    config = PatchConfig(
        action_dim=task.action_dim,
        action_block=task.action_block,
        predictor="causal-vit",
        history=layout.frames,
        frames=layout.frames,
        side=layout.side,
        depth=_depth(layout.predictor),
        heads=layout.heads,
        hidden=hidden,
        head_dim=queries // (3 * layout.heads),
        action_embedding=layout.action[0].shape[0],
        action_repeats=_number(layout.settings, "num_action_repeat", 1),
        proprioception=layout.proprioception[0].shape[1] if layout.proprioception else 0,
        body_embedding=layout.proprioception[0].shape[0] if layout.proprioception else 0,
        body_repeats=_number(layout.settings, "num_proprio_repeat", 1),
        body_weight=PROPRIOCEPTION_WEIGHT,
        picture=_number(layout.settings, "img_size", PICTURE),
        encoder=encoder,
    )
    tensors = {f"predictor.{name}": value for name, value in layout.predictor.items()}
    tensors["action_encoder.weight"], tensors["action_encoder.bias"] = layout.action
    if layout.proprioception:
        tensors["body_encoder.weight"], tensors["body_encoder.bias"] = layout.proprioception
    normalised = layout.settings.get("normalize_action", True) is not False
    return assemble(found, FORMAT, config, units, tensors, encoder_weights, normalised)


def _read(path: Path) -> _Layout:
    """Modules and settings of a file, after checks."""
    parts = read_modules(path, CLASSES)
    settings = _hydra(path)
    predictor = _module(parts, "predictor", path)
    state = predictor.state_dict()
    action = embedding(_module(parts, "action_encoder", path).state_dict(), "action", path)
    proprioception = None
    if isinstance(parts.get("proprio_encoder"), ModuleRecord):
        proprioception = embedding(_module(parts, "proprio_encoder", path).state_dict(), "proprioception", path)
    heads, patches = _attention(predictor, path)
    _, positions, token = shape_of(state, "pos_embedding", 3, path)
    _check_settings(settings, path)
    added = action[0].shape[0] * _number(settings, "num_action_repeat", 1)
    added += proprioception[0].shape[0] * _number(settings, "num_proprio_repeat", 1) if proprioception else 0
    width = token - added
    if width not in NAMES and token in NAMES:
        raise UserError(
            f"{path} keeps actions as separate tokens (concat_dim 0), which is not supported: train with concat_dim 1."
        )
    require(width > 0 and patches > 0, f"{path}: its tokens are narrower than the actions in them: the file is damaged.")
    frames, rest = divmod(positions, patches)
    require(
        rest == 0 and frames > 0,
        f"{path}: {positions} positions do not divide into frames of {patches} patches: the file is damaged.",
    )
    encoder = unwrapped(parts.get("encoder"))
    held = None
    if isinstance(encoder, ModuleRecord):
        tensors = {name.removeprefix("base_model."): value for name, value in encoder.state_dict().items()}
        held = check_dinov2(tensors, f"the encoder in {path}")
    return _Layout(state, action, proprioception, held, heads, square_side(patches, path), frames, width, settings)


def _module(parts: dict[str, object], name: str, path: Path) -> ModuleRecord:
    part = unwrapped(parts.get(name))
    if not isinstance(part, ModuleRecord):
        held = "no" if part is None else f"a {describe(part)} as"
        raise UserError(
            f"{path} holds {held} {name}, where a module was expected: only checkpoints with a predictor are supported."
        )
    return part


def _attention(predictor: ModuleRecord, path: Path) -> tuple[int, int]:
    """Number of heads, and patches per frame according to the first row of the causal mask."""
    module = predictor
    for name in ("transformer", "layers", "0", "0"):
        if name not in module.modules:
            raise UserError(f"{path}: its predictor has no {name}: the file is of another architecture.")
        module = module.modules[name]
    heads, mask = module.values.get("heads"), module.values.get("bias", module.buffers.get("bias"))
    if not isinstance(heads, int) or heads < 1 or not isinstance(mask, Tensor) or mask.ndim != 4:
        raise UserError(f"{path}: its attention has no heads or no causal mask: the file is of another architecture.")
    return heads, int(mask[0, 0, 0].sum())


def _depth(state: dict[str, Tensor]) -> int:
    return sum(1 for name in state if name.endswith(".0.to_qkv.weight"))


def _hydra(path: Path) -> dict[str, Any]:
    """The settings next to a checkpoint, or an empty mapping; raises UserError for a file that does not hold settings."""
    for file in (path.parent / "hydra.yaml", path.parent.parent / "hydra.yaml"):
        if not file.is_file():
            continue
        settings = load_yaml(file, "settings file")
        if not isinstance(settings, dict):
            raise UserError(f"{file} does not hold settings by name: copy it again, or move it away.")
        return settings
    return {}


def _check_settings(settings: dict[str, Any], path: Path) -> None:
    """Raise UserError for a training setting that is not supported."""
    encoder = _entry(settings, "encoder", "name")
    feature = _entry(settings, "encoder", "feature_key")
    known = encoder is None or encoder in NAMES.values()
    require(known, f"{path} was trained on encoder {encoder}: only {', '.join(NAMES.values())} are supported.")
    patches = feature in (None, "x_norm_patchtokens")
    require(patches, f"{path} was trained on the feature {feature}: only x_norm_patchtokens is supported.")
    require(
        settings.get("concat_dim", 1) == 1,
        f"{path} was trained with concat_dim {settings.get('concat_dim')}: only 1 is supported.",
    )


def _entry(settings: dict[str, Any], group: str, name: str) -> object:
    inside = settings.get(group)
    return inside.get(name) if isinstance(inside, dict) else None


def _number(settings: dict[str, Any], name: str, default: int) -> int:
    value = settings.get(name, default)
    require(
        isinstance(value, int) and 0 < value <= 4096,
        f"hydra.yaml says {name} {value!r}: a whole number from 1 to 4096 was expected.",
    )
    return value
