"""Assembly of an ensemble from its checkpoint's tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from world_models.models.ensemble import Ensemble, EnsembleDecode, ensemble_cost
from world_models.parts import Card, Parts, Tensors, model_config

CHANGE_SCALE = "change_scale"
"""Tensor name of the standard deviation of one step's change of a state."""
SHARED = "shared/"
"""Prefix of tensors that are equal in all members."""


def parts(card: Card, tensors: Tensors, assemble: Callable[[Card, Tensors], Parts]) -> Parts:
    """The parts of an ensemble's checkpoint, whose members are built by `assemble`.

    Goal costs, decoder and sensors are the first member's.
    """
    member_card = model_config(card)["member"]
    scale = tensors.pop(CHANGE_SCALE)
    count = model_config(card)["members"]
    members = [assemble(member_card, member_tensors(tensors, k)) for k in range(count)]
    return join_members(members, scale)


def join_members(parts: Sequence[Parts], change_scale: Float[Tensor, " features"]) -> Parts:
    """The parts of an ensemble from those of its members."""
    first = parts[0]
    members = []
    for part in parts:
        assert isinstance(part.model, nn.Module), "an ensemble's members have weights"
        members.append(part.model)
    model = Ensemble(members, change_scale)
    costs = {key: ensemble_cost(cost, model.member_shape) for key, cost in first.goal_costs.items()}
    decode = None if first.decode is None else EnsembleDecode(first.decode, model.member_shape)
    return Parts(model, costs, first.default_goal_cost, decode, first.sensors)


def member_tensors(packed: Tensors, member: int) -> Tensors:
    """One member's tensors from the file's, including those that all members share."""
    own = f"{member}/"
    found = {key.removeprefix(SHARED): value.clone() for key, value in packed.items() if key.startswith(SHARED)}
    return found | {key.removeprefix(own): value for key, value in packed.items() if key.startswith(own)}
