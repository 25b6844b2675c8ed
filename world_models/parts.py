"""What a checkpoint holds, whatever its format: a card, tensors, and the parts that they make."""

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
    """What a checkpoint's tensors make. Whatever holds weights is an `nn.Module`."""

    model: WorldModel
    goal_costs: Mapping[str, GoalCost]
    """By name."""
    default_goal_cost: str
    decode: Decode | None
    """None where nobody knows how to read observations off the model's states."""
    sensors: Sensors = STATE

    def __post_init__(self) -> None:
        if self.default_goal_cost not in self.goal_costs:
            raise UnknownNameError("goal cost", self.default_goal_cost, self.goal_costs)

    def modules(self) -> list[nn.Module]:
        """All that holds weights."""
        found = (self.model, self.decode, *self.goal_costs.values())
        return [part for part in found if isinstance(part, nn.Module)]


def model_config(card: Card) -> dict[str, Any]:
    """The sizes on a card; UserError when they are missing."""
    config = card.get("model")
    require(isinstance(config, dict), "its sizes are missing")
    assert isinstance(config, dict)
    return dict(config)


GOAL_WEIGHTS = "goal_cost.weights"
"""Where a state model's checkpoint keeps the weights of its goal cost."""


ENSEMBLE = f"{PREFIX}ensemble/1"
