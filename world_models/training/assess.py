"""Assessment of a world model: open-loop error against persistence, and rank correlation of goal cost and true distance."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import rankdata

from world_models.base import Context, Decode, GoalCost, WorldModel, remembered, rollout
from world_models.tasks import Task
from world_models.training.data import Dataset

STEPS = (1, 10, 20, 50, 100)
"""Open-loop lengths on every card, in environment steps."""


def open_loop_errors(
    model: WorldModel, decode: Decode, task: Task, data: Dataset, steps: tuple[int, ...] = STEPS, warm_up: int = 0
) -> dict[str, dict[str, dict[str, float]]]:
    """Mean pose errors after n environment steps with the data's actions, `{part: {n: {model, persistence}}}`.

    `decode` maps the model's states to observations. Persistence predicts that nothing moves. Lengths that the data or the
    action block do not allow are left out. A model that remembers is shown the first `warm_up` model steps.
    """
    block, length = task.action_block, data.actions.shape[1] - warm_up * task.action_block
    count = length // block
    whole = warm_up + count
    observations = torch.from_numpy(data.observations[:, : whole * block + 1 : block]).to(model.device, model.dtype)
    actions = torch.from_numpy(data.actions[:, : whole * block]).to(model.device, model.dtype)
    actions = actions.reshape(len(actions), whole, -1)
    with torch.no_grad():
        shown = model.encode(observations[:, : warm_up + 1].flatten(0, 1)).unflatten(0, (-1, warm_up + 1))
        start = remembered(model, shown, actions[:, :warm_up])[:, -1]
        states = rollout(model, Context.at(model, start), actions[:, warm_up:])
        predicted = task.pose(decode(states.flatten(0, 1)).unflatten(0, states.shape[:2]).double().cpu().numpy())
    true = task.pose(observations[:, warm_up:].double().cpu().numpy())
    result: dict[str, dict[str, dict[str, float]]] = {}
    for n in steps:
        if n % block or n > length:
            continue
        k = n // block
        model_error = task.pose_errors(predicted[:, k - 1], true[:, k])
        still = task.pose_errors(true[:, 0], true[:, k])
        for part, error in model_error.items():
            result.setdefault(part, {})[str(n)] = {
                "model": round(float(error.mean()), 5),
                "persistence": round(float(still[part].mean()), 5),
            }
    return result


def goal_cost_rank_correlation(
    model: WorldModel, goal_cost: GoalCost, task: Task, data: Dataset, pairs: int = 4000, seed: int = 0
) -> float:
    """Spearman correlation of goal cost and the task's distance over random pairs of held-out observations."""
    rng = np.random.default_rng(seed)
    flat = data.observations.reshape(-1, data.observations.shape[2])
    first, second = (flat[rng.integers(len(flat), size=pairs)] for _ in range(2))
    with torch.no_grad():
        costs = goal_cost(_encode(model, first), _encode(model, second)).double().cpu().numpy()
    distances = task.distance(task.pose(first.astype(float)), task.pose(second.astype(float)))
    return round(float(np.corrcoef(rankdata(costs), rankdata(distances))[0, 1]), 4)


@runtime_checkable
class Normalised(Protocol):
    """A model of states that knows the deviations of its observations."""

    @property
    def observation_std(self) -> torch.Tensor:
        """Standard deviations, `[observation]`."""
        ...


def goal_weights(task: Task, model: Normalised) -> torch.Tensor:
    """Weights of the goal cost `[observation]`, with mean 1, from the task's tolerances.

    An error as large as the tolerance costs the same in every feature; features that do not matter at the goal have weight 0.
    """
    std = model.observation_std.double().cpu().numpy()
    weights = (std / task.goal_tolerance) ** 2
    return torch.from_numpy(weights / weights.mean()).float()


def _encode(model: WorldModel, observations: Float[np.ndarray, "n observation"]) -> Float[torch.Tensor, "n state"]:
    return model.encode(torch.from_numpy(observations).to(model.device, model.dtype))
