"""The planner contract: problems in the model's state space go in, plans come out; rows never influence each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from world_models.base import Context, GoalCost, WorldModel


class PlanStatus(Enum):
    """How a plan ended."""

    COMPLETED = "completed"
    """All iterations ran."""
    NON_FINITE = "non_finite"
    """The row's iterate became infinite or NaN; the plan is the best finite one before (or the initial one)."""


@dataclass(frozen=True)
class ModelProblems:
    """A batch of problems as a planner sees them: in the model's state space, T model steps long."""

    context: Context
    goal: Float[Tensor, "batch *state"]
    steps: int
    low: Float[Tensor, " action"]
    high: Float[Tensor, " action"]
    goal_cost: GoalCost

    @property
    def batch(self) -> int:
        """Number of problems."""
        return self.goal.shape[0]

    def rows(self, rows: slice | Int[Tensor, " rows"]) -> ModelProblems:
        """Some of the problems."""
        context = Context(self.context.states[rows], self.context.actions[rows])
        return replace(self, context=context, goal=self.goal[rows])


@dataclass(frozen=True)
class Plans:
    """What a planner returns, row by row; `actions` are the best rolled-out plan that was seen."""

    actions: Float[Tensor, "batch time action"]
    states: Float[Tensor, "batch time *state"]
    """The model's rollout s_1..s_T of `actions`."""
    cost: Float[Tensor, " batch"]
    """Goal cost of the rolled-out final state."""
    last_cost: Float[Tensor, " batch"]
    """The same for the last iterate instead of the best."""
    status: tuple[PlanStatus, ...]
    evaluations: Int[Tensor, " batch"]
    """Model steps spent a row (one step of one state counts one)."""
    trace: Float[Tensor, "batch checks"]
    """Best rolled-out cost so far at every check: never worsens."""


OnStep = Callable[[int, int], None]
"""Called with (iterations done, iterations in all)."""


@runtime_checkable
class Planner(Protocol):
    """An optimiser over action sequences. Never logs, draws, sleeps or asks a simulator."""

    def plan(self, model: WorldModel, problems: ModelProblems, seeds: Sequence[int], on_step: OnStep | None = None) -> Plans:
        """One plan a problem. Row i's noise depends on `seeds[i]` and the iteration only."""
        ...
