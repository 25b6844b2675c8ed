"""Kinds of foreign checkpoints that can be read, and recognition of a file's kind."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from world_models.adapters.base import Found, Imported
from world_models.adapters.files import read_content, weight_file
from world_models.adapters.pickles.unpickle import describe
from world_models.errors import UnknownNameError, UserError
from world_models.tasks.base import Task

MODULES: Mapping[str, str] = {
    "dino-wm": "patches.dino_wm",
    "jepa-wms": "patches.jepa_wms",
    "tdmpc2": "tdmpc2.files",
    "lewm": "lewm.files",
}
"""Modules of this package by kind, imported on first use."""

DINOV2 = {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"}
"""Tensors that identify a file with the weights of a DINOv2 encoder."""


@dataclass(frozen=True)
class Adapter:
    """The two functions of a kind (`base.Recognise`, `base.Convert`)."""

    recognise: Callable[[Path], Found | None]
    convert: Callable[[Found, Task, Path | None], Imported]


def adapter(kind: str) -> Adapter:
    """The adapter of a kind; raises UnknownNameError if there is none."""
    if kind not in MODULES:
        raise UnknownNameError("kind of checkpoint", kind, MODULES)
    module = importlib.import_module(f"world_models.adapters.{MODULES[kind]}")
    return Adapter(module.recognise, module.convert)


def recognise(path: Path) -> Found:
    """Description of a checkpoint file, or of the only one in a folder. Nothing in it is executed.

    Raises UserError for a file that is damaged, malicious or of an unknown kind.
    """
    file = weight_file(path)
    for kind in MODULES:
        found = adapter(kind).recognise(file)
        if found is not None:
            return found
    raise UserError(_unknown(file))


def _unknown(file: Path) -> str:
    content = read_content(file)
    if set(content) >= DINOV2:
        return f"{file} holds the weights of a DINOv2 encoder, not of a world model: pass it as --encoder along with one."
    held = ", ".join(f"{name[:60]!r} ({describe(value)})" for name, value in list(content.items())[:4]) or "nothing"
    more = f" and {len(content) - 4} more entries" if len(content) > 4 else ""
    return f"{file} is not a checkpoint of a known kind ({', '.join(MODULES)}): it holds {held}{more}."
