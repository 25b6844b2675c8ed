"""Checkpoint formats: names for `card["format"]`, and the modules that build a model from a checkpoint's tensors."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

from world_models.checkpoints.exported.model import EXPORTED
from world_models.checkpoints.plugin_models import PLUGIN
from world_models.errors import UnknownNameError
from world_models.parts import ENSEMBLE, PREFIX, Card, Parts, Tensors, model_config


@dataclass(frozen=True)
class Format:
    """Reader of a checkpoint format, and its version."""

    module: str
    """The module whose `parts(card, tensors)` reads it (an ensemble's takes `assemble` as well).

    It is given by name, so that an architecture is imported only when a checkpoint needs it.
    """
    version: int = 1
    """Version of the loader, raised whenever the same file makes a model that computes something else: part of a cell's id."""
    shorter_windows: bool = False
    """Whether its models take windows of 1 to h states, and are evaluated so by their authors."""


FORMATS: Mapping[str, Format] = {
    f"{PREFIX}residual-mlp/1": Format("world_models.checkpoints.mlp_parts"),
    f"{PREFIX}recurrent/1": Format("world_models.checkpoints.recurrent_parts"),
    f"{PREFIX}jepa/1": Format("world_models.checkpoints.pixel_parts"),
    f"{PREFIX}tdmpc2/1": Format("world_models.adapters.tdmpc2.files"),
    f"{PREFIX}lewm/1": Format("world_models.adapters.lewm.files", shorter_windows=True),
    f"{PREFIX}pldm/1": Format("world_models.adapters.lewm.files", shorter_windows=True),
    f"{PREFIX}dino-wm/1": Format("world_models.adapters.patches.model", shorter_windows=True),
    f"{PREFIX}jepa-wms/1": Format("world_models.adapters.patches.model", shorter_windows=True),
    ENSEMBLE: Format("world_models.checkpoints.ensemble_parts"),
}
"""Formats by their names on cards."""

OUTSIDE: Mapping[str, int] = {PLUGIN: 1, EXPORTED: 1}
"""Loader versions of the formats of models that are in no checkpoint of ours."""


def assemble(card: Card, tensors: Tensors) -> Parts:
    """The parts of a checkpoint of any known format.

    Raises UnknownNameError for an unknown format, and torch's errors for tensors that do not fit.
    """
    name = known_format(card)
    module = importlib.import_module(FORMATS[name].module)
    if name == ENSEMBLE:
        return module.parts(card, tensors, assemble)
    return module.parts(card, tensors)


def known_format(card: Card) -> str:
    """The card's format; raises UnknownNameError if it is not known."""
    name = str(card.get("format"))
    if name not in FORMATS:
        raise UnknownNameError("checkpoint format", name, FORMATS)
    return name


def loader_version(card: Card) -> int:
    """The version of the loader of a card's format; an ensemble's rises with its own and with its members'.

    Raises UnknownNameError for a format that is not known.
    """
    if (outside := OUTSIDE.get(str(card.get("format")))) is not None:
        return outside
    name = known_format(card)
    own = FORMATS[name].version
    return own + loader_version(model_config(card)["member"]) - 1 if name == ENSEMBLE else own


def takes_shorter_windows(card: Card) -> bool:
    """Whether a card's model takes windows of 1 to h states; raises UnknownNameError for a format that is not known."""
    if str(card.get("format")) in OUTSIDE:
        return bool(model_config(card).get("shorter_windows", False))
    name = known_format(card)
    return takes_shorter_windows(model_config(card)["member"]) if name == ENSEMBLE else FORMATS[name].shorter_windows
