"""The one loop that runs every planner: iterations, checks of rolled-out plans, best so far, row status, trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from planners.base import ModelProblems, OnStep, Plans, PlanStatus
from planners.initialisers import null_actions
from planners.objectives import final_cost
from world_models.base import WorldModel, rollout
from world_models.errors import require


@dataclass
class Run:
    """One call of a planner: what to plan, and the best rolled-out plan seen so far of each row."""

    model: WorldModel
    problems: ModelProblems
    seeds: tuple[int, ...]
    best_actions: Float[Tensor, "batch time action"]
    best_cost: Float[Tensor, " batch"]
    failed: Bool[Tensor, " batch"]
    trace: list[Float[Tensor, " batch"]] = field(default_factory=list)
    evaluations: int = 0

    def offer(self, actions: Float[Tensor, "batch time action"], cost: Float[Tensor, " batch"]) -> None:
        """A check: plans and their rolled-out goal costs. Better rows are kept; a non-finite cost marks its row."""
        finite = torch.isfinite(cost)
        better = finite & (cost < self.best_cost)
        self.failed |= ~finite
        self.best_cost = torch.where(better, cost, self.best_cost)
        self.best_actions = torch.where(better[:, None, None], actions, self.best_actions)
        self.trace.append(self.best_cost)

    def spend(self, model_steps: int) -> None:
        """Count model steps that every row has taken."""
        self.evaluations += model_steps

    def project(self, actions: Float[Tensor, "*batch time action"]) -> None:
        """Move actions inside the bounds, in place."""
        actions.clamp_(self.problems.low, self.problems.high)


def _keep_freed_memory() -> None:
    """Let glibc keep freed tensors for the next ones instead of handing their pages back to the kernel.

    Freeing one large block raises its threshold for doing so; without that, an iteration spends a third of its time on page
    faults. Nothing is touched, so it costs microseconds and no memory.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


@runtime_checkable
class Search(Protocol):
    """A planner's moving parts during one run."""

    @property
    def actions(self) -> Float[Tensor, "batch time action"]:
        """The current iterate."""
        ...

    def step(self, iteration: int) -> None:
        """One iteration; offers whatever it rolled out to the run."""
        ...


def begin(model: WorldModel, problems: ModelProblems, seeds: Sequence[int]) -> Run:
    """A fresh run; UserError when problems, seeds and model do not fit together."""
    batch, history = problems.batch, problems.context.states.shape[1]
    _keep_freed_memory()
    require(batch >= 1, "no problems to plan: give at least one.")
    require(len(seeds) == batch, f"{len(seeds)} seeds for {batch} problems: give one a problem.")
    require(problems.steps >= 1, f"steps {problems.steps} is no plan length: give a whole number >= 1.")
    require(history == model.history, f"a context of {history} states for a model with history {model.history}.")
    bounds = tuple(problems.low.shape), tuple(problems.high.shape)
    sizes = f"action bounds of shapes {bounds[0]} and {bounds[1]} for a model with actions of size {model.action_dim}."
    require(bounds == ((model.action_dim,), (model.action_dim,)), sizes)
    require(bool((problems.low <= problems.high).all()), f"lower bounds {problems.low.tolist()} exceed the upper ones.")
    actions = null_actions(problems, model.action_dim)
    cost = actions.new_full((batch,), torch.inf)
    return Run(model, problems, tuple(seeds), actions, cost, torch.zeros_like(cost, dtype=torch.bool))


def solve(run: Run, search: Search, iterations: int, on_step: OnStep | None) -> Plans:
    """Run a search to its end and return the best rolled-out plan of each row.

    A row that turns non-finite is reported as such with the best plan from before; the rows beside it go on untouched.
    """
    with torch.no_grad():
        run.best_actions = search.actions.clone()
        _check(run, search)
        for iteration in range(iterations):
            search.step(iteration)
            if on_step is not None:
                on_step(iteration + 1, iterations)
        last_cost = _check(run, search)
        return _plans(run, last_cost)


def _check(run: Run, search: Search) -> Float[Tensor, " batch"]:
    cost = final_cost(run.model, run.problems, search.actions)
    run.spend(run.problems.steps)
    run.offer(search.actions, cost)
    return cost


def _plans(run: Run, last_cost: Float[Tensor, " batch"]) -> Plans:
    states = rollout(run.model, run.problems.context, run.best_actions)
    run.spend(run.problems.steps)
    status = tuple(PlanStatus.NON_FINITE if bad else PlanStatus.COMPLETED for bad in run.failed.tolist())
    return Plans(
        actions=run.best_actions,
        states=states,
        cost=run.problems.goal_cost(states[:, -1], run.problems.goal),
        last_cost=last_cost,
        status=status,
        evaluations=torch.full((run.problems.batch,), run.evaluations),
        trace=torch.stack(run.trace, 1),
    )
