"""The kinds of checkpoints: what `card["format"]` says, and how its tensors become a model."""

from __future__ import annotations

from collections.abc import Callable

import torch

from world_models.errors import UnknownNameError
from world_models.parts import ENSEMBLE, GOAL_WEIGHTS, PREFIX, Card, Parts, Tensors, model_config
from world_models.sensors import Sensors


def assemble(card: Card, tensors: Tensors) -> Parts:
    """The parts of a checkpoint of any known format.

    Raises UnknownNameError for a format that is not known; tensors that do not fit raise what torch raises.
    """
    return FORMATS[known_format(card)](card, tensors)


def known_format(card: Card) -> str:
    """The card's format; UnknownNameError for one that is not known."""
    name = str(card.get("format"))
    if name not in FORMATS:
        raise UnknownNameError("checkpoint format", name, FORMATS)
    return name


def _residual_mlp(card: Card, tensors: Tensors) -> Parts:
    from world_models.models.mlp import MLPConfig, ResidualMLP, StateGoalCost

    goal_cost = StateGoalCost(tensors.pop(GOAL_WEIGHTS))
    model = ResidualMLP(MLPConfig(**model_config(card)))
    model.load_state_dict(tensors)
    return Parts(model, {"state": goal_cost}, "state", model.decode)


def _jepa(card: Card, tensors: Tensors) -> Parts:
    from world_models.checkpoints.pixel_parts import parts

    return parts(card, tensors)


def _tdmpc2(card: Card, tensors: Tensors) -> Parts:
    from world_models.adapters.tdmpc2.files import parts

    return parts(card, tensors)


def _lewm(card: Card, tensors: Tensors) -> Parts:
    from world_models.adapters.lewm.files import parts

    return parts(card, tensors)


def _patches(card: Card, tensors: Tensors) -> Parts:
    from world_models.adapters.patches.model import PatchConfig, PatchModel, goal_cost_of
    from world_models.adapters.readout import take_readout

    config, decode = PatchConfig.of(model_config(card)), take_readout(tensors)
    with torch.device("meta"):  # no time is spent on weights that the file replaces
        model = PatchModel(config)
    model.load_state_dict(tensors, assign=True)
    if decode is None and config.body_is_observation:
        decode = model.decode
    return Parts(model, {"latent": goal_cost_of(config)}, "latent", decode, Sensors.of(card))


def _ensemble(card: Card, tensors: Tensors) -> Parts:
    from world_models.checkpoints.ensemble_parts import assemble_ensemble

    return assemble_ensemble(card, tensors)


FORMATS: dict[str, Callable[[Card, Tensors], Parts]] = {
    f"{PREFIX}residual-mlp/1": _residual_mlp,
    f"{PREFIX}jepa/1": _jepa,
    f"{PREFIX}tdmpc2/1": _tdmpc2,
    f"{PREFIX}lewm/1": _lewm,
    f"{PREFIX}dino-wm/1": _patches,
    f"{PREFIX}jepa-wms/1": _patches,
    ENSEMBLE: _ensemble,
}
"""Makers by format; architectures are imported when first asked for."""
