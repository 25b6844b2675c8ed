"""Assembly of a pixel model from its checkpoint's tensors."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from world_models.base import GoalCost, SquaredDistance
from world_models.errors import require
from world_models.models.jepa import JEPA, JEPAConfig
from world_models.models.probe import Probe, ProbeCost
from world_models.models.temporal import TemporalConfig, TemporalCost
from world_models.parts import Parts, model_config
from world_models.sensors import Sensors


def parts(card: Mapping[str, object], tensors: Mapping[str, Tensor]) -> Parts:
    """Model, goal costs and probe (which serves as decoder) of a checkpoint in format `jepa/1`."""
    config = model_config(card)
    probe_width, temporal_sizes = config.pop("probe_width"), config.pop("temporal", None)
    model = JEPA(JEPAConfig(**config))
    model.load_state_dict(_under("model.", tensors))
    weights = tensors["probe_cost.weights"]
    require(weights.ndim == 1, f"weights of the probe's goal cost have shape {tuple(weights.shape)}")
    probe_cost = ProbeCost(Probe(model.config.state, len(weights), probe_width), weights)
    probe_cost.load_state_dict(_under("probe_cost.", tensors))
    costs: dict[str, GoalCost] = {"latent": SquaredDistance(), "probe": probe_cost}
    if temporal_sizes is not None:
        temporal = TemporalCost(TemporalConfig(**temporal_sizes))
        temporal.load_state_dict(_under("temporal.", tensors))
        costs["temporal"] = temporal
    return Parts(model, costs, str(card["goal_cost"]), probe_cost.probe, Sensors.of(card))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
