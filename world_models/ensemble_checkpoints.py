"""Checkpoints of ensembles: one file with all members' tensors; what is the same in every member is kept once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from world_models import checkpoints
from world_models.base import Sight
from world_models.errors import UserError, require
from world_models.formats import assemble
from world_models.models.ensemble import Ensemble, EnsembleDecode, ensemble_cost
from world_models.parts import ENSEMBLE, Card, Parts, Tensors, model_config

_CHANGE_SCALE = "change_scale"
_SHARED = "shared/"
_MEMBER_CARD = ("format", "model", "dynamics", "sensors", "goal_cost", "goal_costs")


def assemble_ensemble(card: Card, tensors: Tensors) -> Parts:
    """The parts of an ensemble's checkpoint: goal costs, decoder and sensors are the first member's."""
    member_card = model_config(card)["member"]
    scale = tensors.pop(_CHANGE_SCALE)
    count = model_config(card)["members"]
    parts = [assemble(member_card, _member_tensors(tensors, k)) for k in range(count)]
    return _join(parts, scale)


def combine(
    out: Path,
    name: str,
    folders: Sequence[Path],
    change_scale: Float[Tensor, " features"],
    describe: Callable[[Parts], Mapping[str, object]],
) -> Path:
    """Write the checkpoints in `folders` as one ensemble and return `out`; `describe` says on the card how good it is.

    `change_scale` is the standard deviation of one step's change of a (flattened) state, feature by feature. Raises UserError
    for members of different kinds or sizes, or whose states mean different things.
    """
    cards = [_member_card(folder) for folder in folders]
    for folder, card in zip(folders, cards, strict=True):
        sentence = f"{folder} is of another kind, size or task than {folders[0]}: an ensemble's members must agree in them."
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
        {**_packed(tensors), _CHANGE_SCALE: change_scale},
        {**inherited, **describe(_join(parts, change_scale))},
    )


def _member_card(folder: Path) -> dict[str, object]:
    """What a member's maker may read of its card."""
    card, _ = checkpoints.read_card(str(folder))
    return {key: card[key] for key in _MEMBER_CARD if key in card}


def _join(parts: Sequence[Parts], change_scale: Float[Tensor, " features"]) -> Parts:
    first = parts[0]
    members = []
    for part in parts:
        assert isinstance(part.model, nn.Module), "members have weights"
        members.append(part.model)
    model = Ensemble(members, change_scale)
    costs = {key: ensemble_cost(cost, model.member_shape) for key, cost in first.goal_costs.items()}
    decode = None if first.decode is None else EnsembleDecode(first.decode, model.member_shape)
    return Parts(model, costs, first.default_goal_cost, decode, first.sensors)


def _packed(tensors: Sequence[Tensors]) -> Tensors:
    """One mapping: `shared/KEY` for what is equal in all members, `K/KEY` for what is member K's own."""
    packed: Tensors = {}
    for key, first in tensors[0].items():
        if all(torch.equal(own[key], first) for own in tensors):
            packed[_SHARED + key] = first
        else:
            packed |= {f"{k}/{key}": own[key] for k, own in enumerate(tensors)}
    return packed


def _member_tensors(packed: Tensors, member: int) -> Tensors:
    own = f"{member}/"
    found = {key.removeprefix(_SHARED): value.clone() for key, value in packed.items() if key.startswith(_SHARED)}
    return found | {key.removeprefix(own): value for key, value in packed.items() if key.startswith(own)}


def _check_one_state_space(parts: Sequence[Parts], config: Mapping[str, object], folders: Sequence[Path]) -> None:
    """UserError unless all members encode an observation to the same state."""
    generator = torch.Generator().manual_seed(0)
    sensors = parts[0].sensors
    if sensors.kind == "state":
        seen: Tensor | Sight = torch.randn(4, _whole(config["observation_dim"]), generator=generator)
    else:
        pixels = torch.randint(256, (4, sensors.size, sensors.size, 3), generator=generator, dtype=torch.uint8)
        seen = Sight(pixels, torch.randn(4, sensors.proprioception, generator=generator))
    with torch.no_grad():
        first = parts[0].model.encode(seen)
        for part, folder in zip(parts, folders, strict=True):
            if not torch.allclose(part.model.encode(seen), first, rtol=1e-4, atol=1e-5):
                raise UserError(
                    f"{folder} encodes observations otherwise than {folders[0]}: an ensemble's members must share one encoder "
                    "and one normalisation."
                )


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value
