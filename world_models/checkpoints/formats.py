"""The formats of checkpoints: what `card["format"]` says, and who makes a model of its tensors."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from world_models.errors import UnknownNameError
from world_models.parts import ENSEMBLE, PREFIX, Card, Parts, Tensors

FORMATS: Mapping[str, str] = {
    f"{PREFIX}residual-mlp/1": "world_models.checkpoints.mlp_parts",
    f"{PREFIX}jepa/1": "world_models.checkpoints.pixel_parts",
    f"{PREFIX}tdmpc2/1": "world_models.adapters.tdmpc2.files",
    f"{PREFIX}lewm/1": "world_models.adapters.lewm.files",
    f"{PREFIX}dino-wm/1": "world_models.adapters.patches.model",
    f"{PREFIX}jepa-wms/1": "world_models.adapters.patches.model",
    ENSEMBLE: "world_models.checkpoints.ensemble_parts",
}
"""The module whose `parts(card, tensors)` reads a format (an ensemble's takes `assemble` as well).

Names, so that an architecture is imported when a checkpoint first asks for it.
"""


def assemble(card: Card, tensors: Tensors) -> Parts:
    """The parts of a checkpoint of any known format.

    Raises UnknownNameError for a format that is not known; tensors that do not fit raise what torch raises.
    """
    name = known_format(card)
    module = importlib.import_module(FORMATS[name])
    if name == ENSEMBLE:
        return module.parts(card, tensors, assemble)
    return module.parts(card, tensors)


def known_format(card: Card) -> str:
    """The card's format; UnknownNameError for one that is not known."""
    name = str(card.get("format"))
    if name not in FORMATS:
        raise UnknownNameError("checkpoint format", name, FORMATS)
    return name
