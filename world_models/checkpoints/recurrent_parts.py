"""Assembly of a recurrent state model from its checkpoint's tensors."""

from __future__ import annotations

from world_models.models.gru import RecurrentConfig, RecurrentModel
from world_models.models.mlp import StateGoalCost
from world_models.parts import GOAL_WEIGHTS, Card, Parts, Tensors, model_config


def parts(card: Card, tensors: Tensors) -> Parts:
    """Model and goal cost of a checkpoint in format `recurrent/1`."""
    goal_cost = StateGoalCost(tensors.pop(GOAL_WEIGHTS))
    model = RecurrentModel(RecurrentConfig(**model_config(card)))
    model.load_state_dict(tensors)
    return Parts(model, {"state": model.adapt_goal_cost(goal_cost)}, "state", model.decode)
