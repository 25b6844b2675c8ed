"""The loop that runs every search: iterations, rows that leave early or join, budgets, and row status."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from planners.base import OnStep, Plans, PlanStatus
from planners.objectives import final_cost
from planners.search.search_run import JoinableSearch, Rows, Run, Search
from world_models.base import rollout


@dataclass(frozen=True)
class Limits:
    """Limits of the rows of a run; a row ends at the first one that it reaches."""

    iterations: Int[Tensor, " rows"]
    """Iterations per row, on the CPU."""
    finish_cost: Float[Tensor, " rows"]
    """A rolled-out goal cost at or below this ends all rows of its problem."""
    evaluations: Int[Tensor, " rows"] | None = None
    """Model steps per row, on the CPU; an iteration that has begun is completed."""
    deadline: float | None = None
    """Time of `time.perf_counter`, in seconds, at which all rows end."""
    restarts: int = 1
    """Rows per problem, next to each other."""
    keep_last: bool = False
    """Whether the iterate that a row ends with is its plan, in place of the best one. Rows that are not finite, or leave
    because they reached `finish_cost`, have their best one all the same."""

    def concat(self, others: Limits) -> Limits:
        """Limits of these rows followed by those of `others`."""
        evaluations = self.evaluations
        if evaluations is not None and others.evaluations is not None:
            evaluations = torch.cat([evaluations, others.evaluations])
        return replace(
            self,
            iterations=torch.cat([self.iterations, others.iterations]),
            finish_cost=torch.cat([self.finish_cost, others.finish_cost]),
            evaluations=evaluations,
        )


@dataclass(frozen=True)
class Ended:
    """Problems of a run whose search is over."""

    problems: Int[Tensor, " problems"]
    """Indices among the run's problems, on the CPU."""
    cost: Float[Tensor, " problems"]
    """Goal costs of their best plans."""
    reached: Bool[Tensor, " problems"]
    """Whether each left early because it reached `finish_cost`, on the CPU."""
    evaluations: Int[Tensor, " problems"]
    """Model steps spent, counted as in `Plans`."""


@dataclass(frozen=True)
class AddedRows:
    """Rows that join a run in progress: a fresh run, and a search of the same kind."""

    run: Run
    search: JoinableSearch
    limits: Limits


OnEnd = Callable[[Ended, bool], AddedRows | None]
"""Callback for problems that have ended and whether others continue; if so, it may return rows that join them."""


def _add_none(ended: Ended, run_continues: bool) -> None:
    return None


def solve(run: Run, search: Search, limits: Limits, on_step: OnStep | None, on_end: OnEnd = _add_none) -> Plans:
    """Run a search to its end and return the best rolled-out plan of each problem, with joined problems last.

    A row that turns non-finite is reported as such with the best plan found before; the other rows continue unaffected.
    """
    total, calls, done = int(limits.iterations.max()), 0, 0
    with torch.no_grad():
        loop = _Loop(run, search, limits, on_end)
        while loop.narrow():
            loop.eligible = search.step(calls)
            calls += 1
            run.tick(loop.eligible)
            if on_step is not None:
                # Rows that joined have all their iterations ahead of them: progress pauses, but never goes back.
                done = max(done, total - int((loop.limits.iterations[run.rows] - run.clock).max()))
                on_step(done, total)
        if on_step is not None and done < total:
            on_step(total, total)
        return loop.plans()


class _Loop:
    """State of `solve`: the rows still searched, and the outcome of the others."""

    def __init__(self, run: Run, search: Search, limits: Limits, on_end: OnEnd) -> None:
        self._run, self._search, self.limits, self._on_end = run, search, limits, on_end
        self._last_cost = run.best_cost.clone()
        self._status = [PlanStatus.COMPLETED] * len(run.rows)
        self.eligible: Rows | None = None
        """Searched rows that may leave because their iteration is over; None for all."""
        self._check_start(None)

    def narrow(self) -> bool:
        """Check the rows that end one last time and continue with the rest and the rows that join; False if none is left."""
        run = self._run
        while (leaving := _leaving(run, self.limits, self.eligible, self._status)).any():
            gone = torch.nonzero(leaving).flatten()
            self._check_last(gone)
            problems = (run.rows[gone] // self.limits.restarts).unique()
            if leaving.all():
                self._on_end(self._ended(problems), False)
                return False
            stay = torch.nonzero(~leaving).flatten()
            run.keep(stay)
            self._search.keep(stay)
            whole = problems[~torch.isin(problems, run.rows // self.limits.restarts)]
            added = self._on_end(self._ended(whole), True)
            if added is None:
                return True
            self._join(added)
        return True

    def _join(self, added: AddedRows) -> None:
        """Add rows to the run; some of them may end before their first iteration."""
        run, search = self._run, self._search
        assert isinstance(search, JoinableSearch), "rows can't join a search whose rows must stay in step"
        self.eligible = torch.arange(len(added.run.rows)) + len(run.rows)
        self._last_cost = torch.cat([self._last_cost, added.run.best_cost])
        self._status += [PlanStatus.COMPLETED] * len(added.run.rows)
        self.limits = self.limits.concat(added.limits)
        run.join(added.run)
        search.join(added.search)
        self._check_start(self.eligible)

    def _check_start(self, rows: Rows | None) -> None:
        """Record the start itself, before the search adds noise to it: no plan is worse than its start."""
        run = self._run
        actions = run.rounded(run.start.actions if rows is None else run.start.actions[rows.to(run.start.actions.device)])
        run.record_rounded(actions, final_cost(run.model, run.problems_of(rows), actions), rows)
        run.spend(run.problems.steps, rows)

    def _check_last(self, rows: Rows) -> None:
        """Record the last iterate of rows that end."""
        run, last_cost = self._run, self._last_cost
        is_all = len(rows) == len(run.rows)
        device_rows = rows.to(last_cost.device)
        actions = run.rounded(self._search.actions if is_all else self._search.actions[device_rows])
        cost = final_cost(run.model, run.problems if is_all else run.problems.rows(device_rows), actions)
        run.spend(run.problems.steps, rows)
        run.record_rounded(actions, cost, rows)
        last_cost[run.rows[rows].to(last_cost.device)] = cost
        if self.limits.keep_last:
            reached = torch.tensor([self._status[row] is PlanStatus.REACHED for row in run.rows[rows].tolist()])
            run.replace_best(actions, cost, rows, torch.isfinite(cost) & ~reached.to(cost.device))

    def _ended(self, problems: Int[Tensor, " problems"]) -> Ended:
        """Results of problems that are no longer searched."""
        best_rows = self._best_rows()[problems.to(self._last_cost.device)]
        reached = [self._status[row] is PlanStatus.REACHED for row in best_rows.tolist()]
        evaluations = self._evaluations()[problems]
        return Ended(problems, self._run.best_cost[best_rows], torch.tensor(reached, dtype=torch.bool), evaluations)

    def _best_rows(self) -> Int[Tensor, " problems"]:
        """The best row of each problem."""
        by_problem = self._run.best_cost.view(-1, self.limits.restarts)
        first = torch.arange(len(by_problem), device=by_problem.device) * self.limits.restarts
        return first + by_problem.argmin(1)

    def _evaluations(self) -> Int[Tensor, " problems"]:
        """Model steps of each problem, including the rollout of its best plan."""
        return self._run.evaluations.view(-1, self.limits.restarts).sum(1) + self._run.problems.steps

    def plans(self) -> Plans:
        """The plan of each problem's best row."""
        run, best_rows = self._run, self._best_rows()
        problems, actions = run.all_problems.rows(best_rows), run.best_actions[best_rows]
        states = rollout(run.model, problems.context, actions)
        ended = [PlanStatus.NON_FINITE if bad else why for bad, why in zip(run.failed.tolist(), self._status, strict=True)]
        trace, spent = run.checks()
        return Plans(
            actions=actions,
            states=states,
            cost=problems.goal_cost(states[:, -1], problems.goal),
            last_cost=self._last_cost[best_rows],
            status=tuple(ended[row] for row in best_rows.tolist()),
            evaluations=self._evaluations(),
            # Where the last iterate is kept, a better plan that was passed on the way counts no more than that one.
            trace=torch.maximum(trace, run.best_cost.unsqueeze(1)).unflatten(0, (-1, self.limits.restarts)).amin(1),
            spent=spent.unflatten(0, (-1, self.limits.restarts)).sum(1),
        )


def _leaving(run: Run, limits: Limits, candidates: Rows | None, status: list[PlanStatus]) -> Bool[Tensor, " searched"]:
    """Which searched rows leave; sets the reason in `status`. Synchronises with the device only if there are new costs.

    Only `candidates` (None: all rows), whose iteration is over, are looked at: how far the others are in theirs depends on the
    rest of the batch.
    """
    done = limits.iterations[run.rows] <= run.clock
    spent = torch.zeros_like(done)
    if limits.evaluations is not None:
        spent = run.evaluations[run.rows] >= limits.evaluations[run.rows]
    eligible = torch.ones_like(done) if candidates is None else torch.zeros_like(done).index_fill_(0, candidates, True)
    if candidates is not None:
        done, spent = done & eligible, spent & eligible
    if limits.deadline is not None and time.perf_counter() >= limits.deadline:
        spent |= True
    leaving = done | spent
    reached = None
    if run.has_new_costs and (candidates is None or len(candidates)):
        run.has_new_costs = False
        by_problem = (run.best_cost <= limits.finish_cost).view(-1, limits.restarts).any(1)
        reached = eligible & by_problem.repeat_interleave(limits.restarts).cpu()[run.rows]
        leaving |= reached
    if leaving.any():
        reasons = ((spent & ~done, PlanStatus.OUT_OF_BUDGET), (reached, PlanStatus.REACHED))
        for rows, reason in reasons:
            for row in [] if rows is None else run.rows[rows].tolist():
                status[row] = reason
    return leaving
