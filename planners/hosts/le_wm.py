"""Our planners as solvers of le-wm: `_target_: planners.hosts.le_wm.GraspSolver` in its `config/eval/solver`.

le-wm hands its solvers the model itself (`model=`), which has `encode`, `predict`, `criterion` and `get_cost`; so do the
releases of stable-worldmodel that it evaluates with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from planners.base import ModelProblems
from planners.hosts.dynamics import EmbeddingDynamics, EmbeddingNetwork, HostNetwork
from planners.hosts.goal_costs import in_our_units
from planners.hosts.infos import Info, goal_inputs, past_actions, rows_of, with_candidates
from planners.hosts.solver import HostedPlanner, HostProblems, solvers_of
from world_models.errors import require
from world_models.history import History

HISTORY = 3
"""Frames of a window in le-wm's rollout, whatever the predictor could see."""


@runtime_checkable
class LeWMNetwork(EmbeddingNetwork, Protocol):
    """A model of le-wm: an `EmbeddingNetwork` with its own costs."""

    def criterion(self, info_dict: dict) -> Tensor:
        """Costs `[batch, candidates]` of `predicted_emb` against `goal_emb`."""
        ...

    def get_cost(self, info_dict: dict, action_candidates: Tensor) -> Tensor:
        """Costs `[batch, candidates]` of candidates `[batch, candidates, time, action]`."""
        ...


@dataclass(frozen=True, eq=False)
class ModelSource(HostNetwork):
    """A model of le-wm, a `LeWMNetwork`, as a source of problems."""

    history: int | None

    def problems(self, info: Info, steps: int, low: Tensor, high: Tensor, lifted: bool) -> HostProblems:
        """Problems in the host's model, whose steps serve all planners."""
        model, frames = EmbeddingDynamics.of(self.network, len(low), info, self.history or HISTORY)
        with torch.no_grad():
            goals = self.network.encode(goal_inputs(info))["emb"][:, -1]
        goal_cost = in_our_units(self._score, torch.zeros_like(goals[:1]))
        past = past_actions(info, frames.shape[1], len(low), frames).to(frames)
        context = History(grows=True).context(model, frames, past)
        return HostProblems(model, ModelProblems(context, goals, steps, low, high, goal_cost), goal_cost)

    def _score(self, states: Float[Tensor, "n feature"], goals: Float[Tensor, "n feature"]) -> Float[Tensor, " n"]:
        # One environment with n candidates: the host's criterion aligns goals with candidates only if there is one.
        return self.network.criterion({"predicted_emb": states[None, :, None], "goal_emb": goals[:, None]})[0]

    def cost_of(self, info: Info, actions: Float[Tensor, "batch time action"]) -> Float[Tensor, " batch"]:
        """The model's own cost of one plan per environment, one call per environment, as the host evaluates."""
        rows = [slice(row, row + 1) for row in range(len(actions))]
        with torch.no_grad():
            costs = [self.network.get_cost(with_candidates(rows_of(info, row)), actions[row][None])[0] for row in rows]
        return torch.cat(costs)


class Solver(HostedPlanner):
    """Base of the solvers of le-wm."""

    def __init__(self, model: Any, history: int | None = None, **options: Any) -> None:
        """A solver for a host's model.

        `history` is the number of frames that a step sees; None: `HISTORY`, as in the host's rollout. The other options are
        those of `HostedPlanner`: `batch_size`, `device`, `seed`, `bound`, `check_cost`, and the planner's settings.

        Raises UserError for a model that lacks a method, and as `HostedPlanner` does.
        """
        lacking = [name for name in ("encode", "predict", "criterion", "get_cost") if not callable(getattr(model, name, None))]
        kind = type(model).__name__
        require(not lacking, f"model {kind} has no {', '.join(lacking)}: give a JEPA of le-wm, or an object with the same.")
        super().__init__(ModelSource(model, history), **options)


GraspSolver, LatCoSolver, GDSolver, CEMSolver, ICEMSolver, MPPISolver, RandomShootingSolver = solvers_of(Solver)
