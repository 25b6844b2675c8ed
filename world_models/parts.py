"""Contents of a checkpoint in any format: a card, tensors, and the parts built from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from world_models.base import Decode, GoalCost, WorldModel
from world_models.errors import UnknownNameError, require
from world_models.sensors import STATE, Sensors

PREFIX = "grasp-orchestrator/"


Card = Mapping[str, object]


Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Parts:
    """Objects built from a checkpoint's tensors. All that hold weights are `nn.Module`s."""

    model: WorldModel
    goal_costs: Mapping[str, GoalCost]
    """Goal costs by name."""
    default_goal_cost: str
    decode: Decode | None
    """None if observations can't be decoded from the model's states."""
    sensors: Sensors = STATE

    def __post_init__(self) -> None:
        if self.default_goal_cost not in self.goal_costs:
            raise UnknownNameError("goal cost", self.default_goal_cost, self.goal_costs)

    def modules(self) -> list[nn.Module]:
        """All parts that hold weights."""
        found = (self.model, self.decode, *self.goal_costs.values())
        return [part for part in found if isinstance(part, nn.Module)]


def model_config(card: Card) -> dict[str, Any]:
    """The model's sizes on a card; raises UserError if they are missing."""
    config = card.get("model")
    require(isinstance(config, dict), "its sizes are missing")
    assert isinstance(config, dict)
    return dict(config)


GOAL_WEIGHTS = "goal_cost.weights"
"""Tensor name of the goal cost's weights in a state model's checkpoint."""


ENSEMBLE = f"{PREFIX}ensemble/1"
