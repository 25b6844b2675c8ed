"""The planner contract: problems in the model's state space in, plans out; rows never influence each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from world_models.base import Context, GoalCost, WorldModel


class PlanStatus(Enum):
    """Status of a plan: how its search ended."""

    COMPLETED = "completed"
    """All iterations ran."""
    REACHED = "reached"
    """The goal was reached in the model to within `finish_cost`, and the row left early."""
    OUT_OF_BUDGET = "out_of_budget"
    """The budget of model evaluations or seconds was used up first; the plan is the best until then."""
    NON_FINITE = "non_finite"
    """The row's iterate became infinite or NaN; the plan is the best finite one before (or the initial one)."""


class PlannerMemoryError(RuntimeError):
    """Planning ran out of memory; `batch` is the number of problems that were planned together."""

    def __init__(self, batch: int, device: str) -> None:
        super().__init__(f"out of memory on {device} with {batch} problems in one batch: plan fewer of them together.")
        self.batch = batch
        self.device = device

    def __reduce__(self) -> tuple[type[PlannerMemoryError], tuple[int, str]]:
        return type(self), (self.batch, self.device)


@dataclass(frozen=True)
class ModelProblems:
    """A batch of problems as a planner sees them: in the model's state space, `steps` model steps long."""

    context: Context
    goal: Float[Tensor, "batch *state"]
    steps: int
    low: Float[Tensor, " action"]
    high: Float[Tensor, " action"]
    goal_cost: GoalCost
    classes: int | None = None
    """Number of classes of an environment step's action; None if actions are a box.

    An action `[action]` has `classes` values for each environment step of a model step: `high` for the class that is taken and
    `low` for the others. Plans are made of such actions. The bounds are the same finite numbers for all values.
    """
    reference: Float[Tensor, "batch time action"] | None = None
    """Actions by which the goals were once reached, for baselines and reports; None if none are known. No planner searches
    with them."""
    action_statistics: tuple[Float[Tensor, " axis"], Float[Tensor, " axis"]] | None = None
    """Mean and standard deviation of recorded actions by axis, for solvers that standardise; None: the model's own."""

    @property
    def batch(self) -> int:
        """Number of problems."""
        return self.goal.shape[0]

    def rows(self, rows: slice | Int[Tensor, " rows"]) -> ModelProblems:
        """The problems of some rows."""
        context = Context(self.context.states[rows], self.context.actions[rows])
        reference = None if self.reference is None else self.reference[rows]
        return replace(self, context=context, goal=self.goal[rows], reference=reference)

    def concat(self, others: ModelProblems) -> ModelProblems:
        """These problems followed by `others`, which have the same length, bounds and goal cost."""
        states = torch.cat([self.context.states, others.context.states])
        context = Context(states, torch.cat([self.context.actions, others.context.actions]))
        both = [each for each in (self.reference, others.reference) if each is not None]
        reference = torch.cat(both) if len(both) == 2 else None
        return replace(self, context=context, goal=torch.cat([self.goal, others.goal]), reference=reference)


@dataclass(frozen=True)
class Start:
    """Start of a search: actions a_0..a_{T-1} and virtual states s_1..s_{T-1}."""

    actions: Float[Tensor, "batch time action"]
    states: Float[Tensor, "batch virtual *state"]

    def rows(self, rows: Int[Tensor, " rows"]) -> Start:
        """The start of some rows."""
        return Start(self.actions[rows], self.states[rows])

    def concat(self, others: Start) -> Start:
        """The starts of these rows followed by those of `others`."""
        return Start(torch.cat([self.actions, others.actions]), torch.cat([self.states, others.states]))


@dataclass(frozen=True)
class Plans:
    """Plans of a batch, row by row; `actions` are the best rolled-out plan found."""

    actions: Float[Tensor, "batch time action"]
    states: Float[Tensor, "batch time *state"]
    """The model's rollout s_1..s_T of `actions`."""
    cost: Float[Tensor, " batch"]
    """Goal cost of the rolled-out final state."""
    last_cost: Float[Tensor, " batch"]
    """Goal cost of the last iterate, rolled out."""
    status: tuple[PlanStatus, ...]
    evaluations: Int[Tensor, " batch"]
    """Model steps spent per problem (one step of one state counts as one)."""
    trace: Float[Tensor, "batch checks"]
    """Best rolled-out cost so far at every check; never increases."""
    spent: Int[Tensor, "batch checks"]
    """Model steps spent on the problem up to each check."""

    def after(self, steps: int) -> Start:
        """The remainder of the plans after `steps` model steps: the warm start for replanning."""
        return Start(self.actions[:, steps:], self.states[:, steps:-1])


OnStep = Callable[[int, int], None]
"""Callback with (iterations done, iterations in total)."""


@runtime_checkable
class Planner(Protocol):
    """An optimiser over action sequences. Never logs, draws, sleeps or asks a simulator."""

    def plan(
        self,
        model: WorldModel,
        problems: ModelProblems,
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        start: Start | None = None,
    ) -> Plans:
        """One plan per problem, from `start` if given. Row i's noise depends only on `seeds[i]` and the iteration."""
        ...
