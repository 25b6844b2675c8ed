"""An ensemble's checkpoint: what its tensors make."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from world_models.checkpoints.formats import assemble
from world_models.models.ensemble import Ensemble, EnsembleDecode, ensemble_cost
from world_models.parts import Card, Parts, Tensors, model_config

_CHANGE_SCALE = "change_scale"


_SHARED = "shared/"


def assemble_ensemble(card: Card, tensors: Tensors) -> Parts:
    """The parts of an ensemble's checkpoint: goal costs, decoder and sensors are the first member's."""
    member_card = model_config(card)["member"]
    scale = tensors.pop(_CHANGE_SCALE)
    count = model_config(card)["members"]
    parts = [assemble(member_card, _member_tensors(tensors, k)) for k in range(count)]
    return _join(parts, scale)


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


def _member_tensors(packed: Tensors, member: int) -> Tensors:
    own = f"{member}/"
    found = {key.removeprefix(_SHARED): value.clone() for key, value in packed.items() if key.startswith(_SHARED)}
    return found | {key.removeprefix(own): value for key, value in packed.items() if key.startswith(own)}
