"""Our planners as solvers of stable-worldmodel: `_target_: planners.hosts.stable_worldmodel.GraspSolver` in its configuration.

A solver takes the host's cost object, a `ShootingCostEvaluator` of a world model and an objective, and plans in the model
itself. Any other object with `get_cost`, such as TD-MPC2, serves the planners that only need the cost of whole plans.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from planners.base import ModelProblems
from planners.hosts.dynamics import EmbeddingDynamics, EmbeddingNetwork, HostDynamics, PatchDynamics, PatchNetwork
from planners.hosts.goal_costs import ActionsSoFar, Costable, Score, in_our_units, plan_cost_problems
from planners.hosts.infos import Info, past_actions, with_candidates
from planners.hosts.solver import HostedPlanner, HostProblems, solvers_of
from world_models.errors import UserError, require
from world_models.history import History


@dataclass(frozen=True, eq=False)
class Evaluator:
    """The parts of a host's cost object; `network` None for one that only has `get_cost`."""

    network: Any
    objective: Callable[[dict[str, Any]], Tensor]
    encode_goal: Callable[[Any, dict[str, Any]], Tensor] | None

    @staticmethod
    def of(cost: Any) -> Evaluator | None:
        """The parts of a cost object, None for one that has no `model` and `objective`; UserError for constraints."""
        try:
            network, objective, encode_goal = cost.model, cost.objective, cost.encode_goal
        except AttributeError:
            return None
        constrained = bool(getattr(cost, "constraints", None))
        require(not constrained, "constraints are not supported: leave them out, or take the host's LagrangianSolver.")
        return Evaluator(network, objective, encode_goal)


@dataclass(frozen=True, eq=False)
class CostSource:
    """A cost object of stable-worldmodel as a source of problems."""

    cost: Costable
    evaluator: Evaluator | None
    history: int | None

    @property
    def device(self) -> torch.device:
        """Device of the model's parameters; the CPU for a cost without parameters."""
        return self._parameter.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the model's parameters; float32 for a cost without parameters."""
        return self._parameter.dtype

    @property
    def _parameter(self) -> Tensor:
        parameters = getattr(self.cost, "parameters", tuple)
        return next(iter(parameters()), torch.empty(0))

    def problems(self, info: Info, steps: int, low: Tensor, high: Tensor, lifted: bool) -> HostProblems:
        """Problems in the host's model, or in whole plans where there is none."""
        evaluator = self.evaluator
        opened = None if evaluator is None else _opened(evaluator.network, len(low), info, self.history)
        if opened is None or evaluator is None:
            require(not lifted, self._lacks())
            sequence = ActionsSoFar(steps, len(low), self.device, self.dtype)
            return HostProblems(*plan_cost_problems(self.cost, info, sequence, low, high))
        model, frames = opened
        require(evaluator.encode_goal is not None, "the evaluator encodes no goals: give it an encode_goal.")
        assert evaluator.encode_goal is not None
        require("goal" in info, f"the info has no 'goal' among {', '.join(info)}: evaluate with goals.")
        with torch.no_grad():
            goals = evaluator.encode_goal(evaluator.network, with_candidates(info))[:, -1]
        goal_cost = in_our_units(_score(model, evaluator.objective), torch.zeros_like(goals[:1]))
        past = past_actions(info, frames.shape[1], model.action_dim, frames)
        context = History(grows=True).context(model, frames, past.to(frames))
        return HostProblems(model, ModelProblems(context, goals, steps, low, high, goal_cost), goal_cost)

    def cost_of(self, info: Info, actions: Float[Tensor, "batch time action"]) -> Float[Tensor, " batch"]:
        """The cost object's own cost of one plan per environment."""
        with torch.no_grad():
            return self.cost.get_cost(with_candidates(info), actions.unsqueeze(1))[:, 0]

    def _lacks(self) -> str:
        kind = type(self.cost if self.evaluator is None else self.evaluator.network).__name__
        missing = "has no model and objective" if self.evaluator is None else "has no predict for a single step"
        return (
            f"{kind} {missing}, so that the states between start and goal are unknown: "
            "plan with gd, cem, icem, mppi or random_shooting, from starts that are not explored."
        )


def _opened(network: Any, action_dim: int, info: Info, history: int | None) -> tuple[HostDynamics, Tensor] | None:
    """The network as a world model, and the states of the info's frames; None for a network that takes no single steps."""
    if isinstance(network, PatchNetwork):
        return PatchDynamics.of(network, action_dim, info, history)
    if isinstance(network, EmbeddingNetwork):
        return EmbeddingDynamics.of(network, action_dim, info, history)
    return None


def _score(model: HostDynamics, objective: Callable[[dict[str, Any]], Tensor]) -> Score:
    """The objective of last states, given to it as rollouts of one step."""

    def score(states: Tensor, goals: Tensor) -> Tensor:
        if isinstance(model, PatchDynamics):
            predicted, wanted = model.parts(states), model.parts(goals)
            info = {f"predicted_{name}_emb": part[:, None, None] for name, part in predicted.items()}
            info |= {f"{name}_goal_emb": part[:, None] for name, part in wanted.items()}
        else:
            info = {"predicted_emb": states[:, None, None], "goal_emb": goals[:, None]}
        try:
            return objective(info)[:, 0]
        except KeyError as error:
            raise UserError(
                f"the objective reads {error}, and of a last state only {', '.join(info)} are known: leave that term out, or "
                "plan with whole_plans=True and gd, cem, icem, mppi or random_shooting."
            ) from None

    return score


class Solver(HostedPlanner):
    """Base of the solvers of stable-worldmodel."""

    def __init__(self, cost: Any, history: int | None = None, whole_plans: bool = False, **options: Any) -> None:
        """A solver for a host's cost object.

        `history` is the number of frames that a step sees; None: as the host's own rollout has it. `whole_plans` plans on
        `get_cost` alone, for objectives that read more than the last state. The other options are those of `HostedPlanner`:
        `batch_size`, `device`, `seed`, `bound`, `check_cost`, and the planner's settings.

        Raises UserError for a cost object without `get_cost`, and as `HostedPlanner` does.
        """
        require(isinstance(cost, Costable), f"cost {type(cost).__name__} has no get_cost: give a ShootingCostEvaluator.")
        super().__init__(CostSource(cost, None if whole_plans else Evaluator.of(cost), history), **options)


GraspSolver, LatCoSolver, GDSolver, CEMSolver, ICEMSolver, MPPISolver, RandomShootingSolver = solvers_of(Solver)
