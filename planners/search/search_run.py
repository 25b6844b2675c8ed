"""One run of a search: its problems, the best rolled-out plan of each row so far, and the model steps spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from planners.base import ModelProblems, Start
from planners.classes import Classes
from planners.objectives import final_cost
from planners.search.initialisers import linear
from world_models.base import WorldModel, takes_shorter_windows
from world_models.errors import require

Rows = Int[Tensor, " rows"]
"""Indices of rows, on the CPU."""


@runtime_checkable
class Search(Protocol):
    """The state and update of a planner during one run."""

    @property
    def actions(self) -> Float[Tensor, "batch time action"]:
        """The current iterate."""
        ...

    def step(self, iteration: int) -> Rows | None:
        """Take one iteration; records the plans that it rolled out in the run, and the model steps that this took.

        Returns the rows whose iteration is over, None for all. If rows are not in step, `iteration` only counts the calls.
        """
        ...

    def keep(self, rows: Rows) -> None:
        """Keep only these rows; the others are finished. The run itself has been narrowed already."""
        ...


@runtime_checkable
class JoinableSearch(Search, Protocol):
    """A search that further rows can join while it is in progress."""

    def join(self, others: Any) -> None:
        """Append the rows of another search of the same kind that has just begun; the runs have been joined already."""
        ...


class Run:
    """State of a search's run: `problems`, `seeds` and `start` hold the rows that are still searched.

    Best plans, costs, failures and evaluations are kept for all rows of the run, finished or not.
    """

    def __init__(self, model: WorldModel, problems: ModelProblems, seeds: Sequence[int], start: Start) -> None:
        self.model = model
        self.all_problems = self.problems = problems
        self.seeds = tuple(seeds)
        self.start = start
        self.classes = Classes.of(problems)
        """The classes of actions, which `start` and the iterates of a search relax; None if actions are a box."""
        batch, device = problems.batch, problems.goal.device
        self.best_actions = self.rounded(start.actions).clone()
        self.best_cost = problems.goal.new_full((batch,), torch.inf)
        self.failed = torch.zeros(batch, dtype=torch.bool, device=device)
        self.evaluations = torch.zeros(batch, dtype=torch.int64)
        self.clock = torch.zeros(batch, dtype=torch.int64)
        """Iterations done per searched row, on the CPU."""
        self.trace: list[Float[Tensor, " all_rows"]] = []
        self.spent: list[Int[Tensor, " all_rows"]] = []
        self.rows: Rows = torch.arange(batch)
        self.has_new_costs = False
        """Whether any cost was recorded since this was last set to False."""
        self._device_rows = self.rows.to(device)

    def record(
        self, actions: Float[Tensor, "batch time action"], cost: Float[Tensor, " batch"], rows: Rows | None = None
    ) -> None:
        """Record a check: plans and their rolled-out goal costs. Better plans are kept; a non-finite cost marks its row failed.

        Where actions are classes, the plans that are kept are rounded, and rolled out for their own costs, which is counted.
        `rows` are the indices among the searched rows, None for all.
        """
        if self.classes is not None:
            actions, relaxed = self.rounded(actions), cost
            rolled_out = final_cost(self.model, self.problems_of(rows), actions)
            cost = torch.where(torch.isfinite(relaxed), rolled_out, relaxed)
            self.spend(self.problems.steps, rows)
        self.record_rounded(actions, cost, rows)

    def record_rounded(
        self, actions: Float[Tensor, "batch time action"], cost: Float[Tensor, " batch"], rows: Rows | None = None
    ) -> None:
        """Record a check of plans that are `rounded` already, with their own costs."""
        indices = self._device_rows if rows is None else self._device_rows[rows.to(self._device_rows.device)]
        finite, best = torch.isfinite(cost), self.best_cost[indices]
        better = finite & (cost < best)
        self.failed[indices] |= ~finite
        self.best_cost[indices] = torch.where(better, cost, best)
        self.best_actions[indices] = torch.where(better[:, None, None], actions, self.best_actions[indices])
        self.trace.append(self.best_cost.clone())
        self.spent.append(self.evaluations.clone())
        self.has_new_costs = True

    def replace_best(
        self,
        actions: Float[Tensor, "rows time action"],
        cost: Float[Tensor, " rows"],
        rows: Rows,
        taken: Bool[Tensor, " rows"],
    ) -> None:
        """Let these plans of some searched rows, where `taken`, stand for their best ones, though they may be worse."""
        indices = self._device_rows[rows.to(self._device_rows.device)]
        self.best_cost[indices] = torch.where(taken, cost, self.best_cost[indices])
        self.best_actions[indices] = torch.where(taken[:, None, None], actions, self.best_actions[indices])

    def problems_of(self, rows: Rows | None) -> ModelProblems:
        """The problems of all searched rows, or of some."""
        return self.problems if rows is None else self.problems.rows(rows.to(self._device_rows.device))

    def best(self, rows: Rows | None = None) -> Float[Tensor, "batch time action"]:
        """The best plans so far of the rows that are still searched, or of some of them."""
        return self.best_actions[self._device_rows if rows is None else self._device_rows[rows.to(self._device_rows.device)]]

    def spend(self, model_steps: int, rows: Rows | None = None) -> None:
        """Count model steps taken by every searched row, or by each of `rows`."""
        if rows is None and len(self.rows) == len(self.evaluations):
            self.evaluations += model_steps
        else:
            self.evaluations[self.rows if rows is None else self.rows[rows]] += model_steps

    def tick(self, rows: Rows | None) -> None:
        """Count an iteration of every searched row, or of `rows`."""
        self.clock[slice(None) if rows is None else rows] += 1

    def project(self, actions: Float[Tensor, "*batch time action"]) -> None:
        """Clamp actions to the bounds, in place; of classes, to shares that sum to 1."""
        if self.classes is not None:
            self.classes.project(actions)
        actions.clamp_(self.problems.low, self.problems.high)

    def rounded(self, actions: Float[Tensor, "*batch time action"]) -> Float[Tensor, "*batch time action"]:
        """Actions as they can be executed: the same, or the classes that relaxed ones stand for."""
        return actions if self.classes is None else self.classes.rounded(actions)

    def tangent(self, gradient: Float[Tensor, "*batch action"]) -> Float[Tensor, "*batch action"]:
        """The part of gradients with respect to actions that `project` leaves: all, or that along the shares of classes."""
        return gradient if self.classes is None else self.classes.tangent(gradient)

    def join(self, others: Run) -> None:
        """Append the rows of a fresh run with the same model."""
        first = len(self.evaluations)
        self.all_problems = self.all_problems.concat(others.all_problems)
        self.problems = self.problems.concat(others.problems)
        self.seeds += others.seeds
        self.start = self.start.concat(others.start)
        for name in ("best_actions", "best_cost", "failed", "evaluations", "clock"):
            setattr(self, name, torch.cat([getattr(self, name), getattr(others, name)]))
        self.rows = torch.cat([self.rows, others.rows + first])
        self._device_rows = torch.cat([self._device_rows, others._device_rows + first])

    def checks(self) -> tuple[Float[Tensor, "all_rows checks"], Int[Tensor, "all_rows checks"]]:
        """Best cost and model steps spent at each check; rows that joined later have infinite cost and 0 steps before."""
        count = len(self.evaluations)
        if all(len(costs) == count for costs in self.trace):
            return torch.stack(self.trace, 1), torch.stack(self.spent, 1)
        trace = self.best_cost.new_full((len(self.trace), count), torch.inf)
        spent = self.evaluations.new_zeros(len(self.trace), count)
        for check, (costs, steps) in enumerate(zip(self.trace, self.spent, strict=True)):
            trace[check, : len(costs)] = costs
            spent[check, : len(steps)] = steps
        return trace.T, spent.T

    def keep(self, rows: Rows) -> None:
        """Keep only these of the searched rows."""
        device_rows = rows.to(self._device_rows.device)
        self.problems = self.problems.rows(device_rows)
        self.seeds = tuple(self.seeds[row] for row in rows.tolist())
        self.start = self.start.rows(device_rows)
        self.rows, self.clock, self._device_rows = self.rows[rows], self.clock[rows], self._device_rows[device_rows]


def _keep_freed_memory() -> None:
    """Let glibc keep freed tensors for the next ones instead of handing their pages back to the kernel.

    Freeing one large block raises glibc's threshold for returning memory; otherwise an iteration spends a third of its time on
    page faults. The block is never written, so this costs microseconds and no memory.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def check_problems(model: WorldModel, problems: ModelProblems, seeds: Sequence[int], start: Start | None) -> None:
    """Raise UserError unless problems, seeds, start and model fit together."""
    batch, known, history = problems.batch, problems.context.known, model.history
    require(batch >= 1, "no problems to plan: give at least one.")
    require(len(seeds) == batch, f"{len(seeds)} seeds for {batch} problems: give one per problem.")
    require(problems.steps >= 1, f"steps {problems.steps} is not a valid plan length: give a whole number >= 1.")
    least = 1 if takes_shorter_windows(model) else history
    require(least <= known <= history, f"a context of {known} states for a model with history {history}.")
    past = problems.context.actions.shape[1]
    require(past == known - 1, f"a context of {known} states with {past} actions between them: give {known - 1}.")
    bounds = tuple(problems.low.shape), tuple(problems.high.shape)
    sizes = f"action bounds of shapes {bounds[0]} and {bounds[1]} for a model with actions of size {model.action_dim}."
    require(bounds == ((model.action_dim,), (model.action_dim,)), sizes)
    require(bool((problems.low <= problems.high).all()), f"lower bounds {problems.low.tolist()} exceed the upper ones.")
    if problems.classes is not None:
        _check_classes(problems, problems.classes)
    if start is not None:
        shapes = tuple(start.actions.shape), tuple(start.states.shape)
        wanted = (batch, problems.steps, model.action_dim), (batch, problems.steps - 1, *model.state_shape)
        sentence = f"a start of shapes {shapes[0]} and {shapes[1]} for plans of shapes {wanted[0]} and {wanted[1]}."
        require(shapes == wanted, sentence)


def _check_classes(problems: ModelProblems, classes: int) -> None:
    """Raise UserError unless actions of classes have a group of values for each environment step, between the same bounds."""
    size, low, high = len(problems.low), problems.low, problems.high
    sentence = (
        f"{classes} classes for actions of size {size}: give at least 2, and a group of as many values per environment step."
    )
    require(classes >= 2 and size % classes == 0, sentence)
    same = bool((low == low[0]).all() and (high == high[0]).all() and low[0] < high[0] and torch.isfinite(high - low).all())
    require(same, f"bounds {low.tolist()} and {high.tolist()} for classes: give the same two finite numbers for all values.")


def begin(model: WorldModel, problems: ModelProblems, seeds: Sequence[int], start: Start | None = None) -> Run:
    """A fresh run, from null actions and a straight line of states if no start is given.

    Raises UserError if problems, seeds, start and model do not fit together.
    """
    check_problems(model, problems, seeds, start)
    _keep_freed_memory()
    if start is None:
        start = linear(model, problems)
    inside = torch.clamp(start.actions, problems.low, problems.high)
    if (classes := Classes.of(problems)) is not None:
        classes.project(inside)
    return Run(model, problems, seeds, Start(inside, start.states.clone()))
