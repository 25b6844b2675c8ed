"""Checkpoints of ensembles: one file with all members' tensors, in which tensors equal in all members are stored once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from world_models.base import PixelObservation
from world_models.checkpoints import store as checkpoints
from world_models.checkpoints.ensemble_parts import CHANGE_SCALE, SHARED, join_members
from world_models.checkpoints.formats import assemble
from world_models.errors import UserError, require
from world_models.parts import ENSEMBLE, Parts, Tensors, model_config

_MEMBER_CARD = ("format", "model", "dynamics", "sensors", "goal_cost", "goal_costs")


def combine(
    out: Path,
    name: str,
    folders: Sequence[Path],
    change_scale: Float[Tensor, " features"],
    describe: Callable[[Parts], Mapping[str, object]],
) -> Path:
    """Write the checkpoints in `folders` as one ensemble and return `out`; `describe` gives further card entries, such as
    errors.

    `change_scale` is the standard deviation of one step's change of a flattened state, by feature. Raises UserError for members
    of different kinds or sizes, or with different state spaces.
    """
    cards = [_member_card(folder) for folder in folders]
    for folder, card in zip(folders, cards, strict=True):
        sentence = f"{folder} differs from {folders[0]} in kind, size or task: an ensemble's members must agree in these."
        require(card == cards[0], sentence)
    tensors = [checkpoints.read_tensors(str(folder)) for folder in folders]
    parts = [assemble(card, dict(own)) for card, own in zip(cards, tensors, strict=True)]
    config = model_config(cards[0])
    _check_one_state_space(parts, config, folders)
    sizes = {key: config[key] for key in ("action_dim", "action_block")}
    inherited = {key: value for key, value in cards[0].items() if key not in ("format", "model")}
    return checkpoints.write(
        out,
        ENSEMBLE,
        name,
        {**sizes, "members": len(folders), "member": cards[0]},
        {**_packed(tensors), CHANGE_SCALE: change_scale},
        {**inherited, **describe(join_members(parts, change_scale))},
    )


def _member_card(folder: Path) -> dict[str, object]:
    """The entries of a member's card that assembling it may read."""
    card, _ = checkpoints.read_card(str(folder))
    return {key: card[key] for key in _MEMBER_CARD if key in card}


def _packed(tensors: Sequence[Tensors]) -> Tensors:
    """All tensors in one mapping: `shared/KEY` for those equal in all members, `K/KEY` for those of member K."""
    packed: Tensors = {}
    for key, first in tensors[0].items():
        if all(torch.equal(own[key], first) for own in tensors):
            packed[SHARED + key] = first
        else:
            packed |= {f"{k}/{key}": own[key] for k, own in enumerate(tensors)}
    return packed


def _check_one_state_space(parts: Sequence[Parts], config: Mapping[str, object], folders: Sequence[Path]) -> None:
    """Raise UserError unless all members encode an observation to the same state."""
    generator = torch.Generator().manual_seed(0)
    sensors = parts[0].sensors
    if sensors.kind == "state":
        seen: Tensor | PixelObservation = torch.randn(4, _whole(config["observation_dim"]), generator=generator)
    else:
        pixels = torch.randint(256, (4, sensors.size, sensors.size, 3), generator=generator, dtype=torch.uint8)
        seen = PixelObservation(pixels, torch.randn(4, sensors.proprioception, generator=generator))
    with torch.no_grad():
        first = parts[0].model.encode(seen)
        for part, folder in zip(parts, folders, strict=True):
            if not torch.allclose(part.model.encode(seen), first, rtol=1e-4, atol=1e-5):
                raise UserError(
                    f"{folder} encodes observations differently from {folders[0]}: members must share one encoder "
                    "and one normalisation."
                )


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value
