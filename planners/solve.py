"""The one loop that runs every search: iterations, rows that leave early, budgets, row status."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from planners.base import OnStep, Plans, PlanStatus
from planners.objectives import final_cost
from planners.run import Rows, Run, Search
from world_models.base import rollout


@dataclass(frozen=True)
class Limits:
    """When the rows of a run end, whichever comes first."""

    iterations: Int[Tensor, " rows"]
    """On the CPU."""
    finish_cost: Float[Tensor, " rows"]
    """A rolled-out goal cost at or below this ends all rows of its problem."""
    evaluations: Int[Tensor, " rows"] | None = None
    """Model steps a row, on the CPU; an iteration that has begun is ended."""
    deadline: float | None = None
    """In seconds of `time.perf_counter`."""
    restarts: int = 1
    """Rows a problem, one behind the other."""


def solve(run: Run, search: Search, limits: Limits, on_step: OnStep | None) -> Plans:
    """Run a search to its end and return the best rolled-out plan of each problem.

    A row that turns non-finite is reported as such with the best plan from before; the rows beside it go on untouched.
    """
    last_cost = run.best_cost.clone()
    status = [PlanStatus.COMPLETED] * len(run.rows)
    total, calls, ended = int(limits.iterations.max()), 0, None
    with torch.no_grad():
        # The start itself, before a search puts noise on it: no plan is worse than what it was given.
        run.offer(run.start.actions, final_cost(run.model, run.problems, run.start.actions))
        run.spend(run.problems.steps)
        while _narrow(run, search, _leaving(run, limits, ended, status), last_cost):
            ended = search.step(calls)
            calls += 1
            run.tick(ended)
            if on_step is not None:
                on_step(total - int((limits.iterations[run.rows] - run.clock).max()), total)
        if on_step is not None and (run.clock < total).any():
            on_step(total, total)
        return _plans(run, last_cost, status, limits.restarts)


def _narrow(run: Run, search: Search, leaving: Bool[Tensor, " searched"], last_cost: Float[Tensor, " all_rows"]) -> bool:
    """Check the rows that end a last time and go on with the others; False when there is none."""
    if not leaving.any():
        return True
    _check_last(run, search, torch.nonzero(leaving).flatten(), last_cost)
    if leaving.all():
        return False
    stay = torch.nonzero(~leaving).flatten()
    run.keep(stay)
    search.keep(stay)
    return True


def _leaving(run: Run, limits: Limits, ended: Rows | None, status: list[PlanStatus]) -> Bool[Tensor, " searched"]:
    """Which searched rows go; notes why in `status`. Waits for the device only when there is news.

    Only rows whose iteration has `ended` are looked at: wherever else they stand depends on the rows beside them.
    """
    looked_at = torch.full((len(run.rows),), ended is None)
    if ended is not None:
        looked_at[ended] = True
    done = looked_at & (limits.iterations[run.rows] <= run.clock)
    spent = torch.zeros_like(done)
    if limits.evaluations is not None:
        spent |= looked_at & (run.evaluations[run.rows] >= limits.evaluations[run.rows])
    if limits.deadline is not None and time.perf_counter() >= limits.deadline:
        spent |= True
    reached = torch.zeros_like(done)
    if run.news and looked_at.any():
        run.news = False
        by_problem = (run.best_cost <= limits.finish_cost).view(-1, limits.restarts).any(1)
        reached = looked_at & by_problem.repeat_interleave(limits.restarts).cpu()[run.rows]
    for rows, reason in ((spent & ~done, PlanStatus.OUT_OF_BUDGET), (reached, PlanStatus.REACHED)):
        for row in run.rows[rows].tolist():
            status[row] = reason
    return done | spent | reached


def _check_last(run: Run, search: Search, rows: Int[Tensor, " rows"], last_cost: Float[Tensor, " all_rows"]) -> None:
    """The last check of rows that end."""
    everyone = len(rows) == len(run.rows)
    there = rows.to(last_cost.device)
    actions = search.actions if everyone else search.actions[there]
    cost = final_cost(run.model, run.problems if everyone else run.problems.rows(there), actions)
    run.spend(run.problems.steps, rows)
    run.offer(actions, cost, rows)
    last_cost[run.rows[rows].to(last_cost.device)] = cost


def _plans(run: Run, last_cost: Float[Tensor, " all_rows"], status: list[PlanStatus], restarts: int) -> Plans:
    """The best row of each problem."""
    by_problem = run.best_cost.view(-1, restarts)
    first = torch.arange(by_problem.shape[0], device=by_problem.device) * restarts
    chosen = first + by_problem.argmin(1)
    problems = run.all_problems.rows(chosen)
    actions = run.best_actions[chosen]
    states = rollout(run.model, problems.context, actions)
    ended = [PlanStatus.NON_FINITE if bad else why for bad, why in zip(run.failed.tolist(), status, strict=True)]
    return Plans(
        actions=actions,
        states=states,
        cost=problems.goal_cost(states[:, -1], problems.goal),
        last_cost=last_cost[chosen],
        status=tuple(ended[row] for row in chosen.tolist()),
        evaluations=run.evaluations.view(-1, restarts).sum(1) + problems.steps,
        trace=torch.stack(run.trace, 1).unflatten(0, (-1, restarts)).amin(1),
        spent=torch.stack(run.spent, 1).unflatten(0, (-1, restarts)).sum(1),
    )
