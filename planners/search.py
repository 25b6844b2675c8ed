"""What all our planners share: restarts, further attempts, budgets and starts around one search."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from planners.attempts import attempt_seed, merged, restart_seed
from planners.base import ModelProblems, OnStep, PlannerMemoryError, Plans, PlanStatus, Start
from planners.initialisers import linear, zeros
from planners.run import Run, Search, begin, check_problems
from planners.settings import Count, Number, Settings, choice, count, number
from planners.solve import Limits, solve
from world_models.base import WorldModel

S = TypeVar("S", bound="SearchSettings")


@dataclass(frozen=True)
class SearchSettings(Settings):
    """The settings that every planner has."""

    iterations: Count = count(300, by_row=True)
    restarts: int = count(1)
    """Rows a problem, planned beside each other with noise of their own; the best rolled-out plan of all is kept."""
    attempts: int = count(1)
    """Tries a problem gets at most, one after the other, each with noise of its own; the best plan of all is kept."""
    reached_cost: Number = number(0.0)
    """A problem whose rolled-out goal cost is at most this is not tried again."""
    finish_cost: Number = number(0.0)
    """A problem whose rolled-out goal cost is at most this leaves the batch at once, so that the others go on faster;
    it is not tried again."""
    max_evaluations: int | None = count(None)
    """Model steps a problem; the iteration in which they are spent is its last. None: no limit."""
    max_seconds: float | None = number(None, positive=True, by_row=False)
    """Wall seconds a problem: B problems planned together may take B times as long. None: no limit."""
    init: str = choice("linear", "zeros")
    """Where a search starts: null actions, with virtual states on the straight line to the goal (`linear`) or where null
    actions lead (`zeros`)."""


@dataclass(frozen=True)
class SearchPlanner(ABC, Generic[S]):
    """A planner made of settings and a search; subclasses give `search`."""

    settings: S

    @abstractmethod
    def search(self, settings: S, run: Run) -> Search:
        """The moving parts of one run; `settings` has one entry a row where it has tensors."""

    def plan(
        self,
        model: WorldModel,
        problems: ModelProblems,
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        start: Start | None = None,
    ) -> Plans:
        """One plan a problem; the first attempt begins at `start` if one is given, the others as `settings.init` says.

        Raises UserError when problems, seeds, start, settings and model do not fit together, and PlannerMemoryError.
        """
        check_problems(model, problems, seeds, start)
        self.settings.check_rows(problems.batch)
        call = _Call(self, model, on_step, _deadline(self.settings, problems.batch))
        with torch.no_grad(), _memory_errors(problems):
            plans = call.attempt(0, problems, seeds, self.settings, start)
            for number_of in range(1, self.settings.attempts):
                rows = _open_rows(self.settings, plans)
                if len(rows) == 0 or call.late():
                    break
                there = rows.to(problems.goal.device)
                again = [seeds[row] for row in rows.tolist()]
                further = call.attempt(
                    number_of, problems.rows(there), again, self.settings.rows(rows), None, plans.evaluations[rows]
                )
                plans = merged(plans, further, there)
        return plans


@dataclass(frozen=True)
class _Call(Generic[S]):
    """What the attempts of one call of `plan` share."""

    planner: SearchPlanner[S]
    model: WorldModel
    on_step: OnStep | None
    deadline: float | None

    def late(self) -> bool:
        """Whether the time is over."""
        return self.deadline is not None and time.perf_counter() >= self.deadline

    def attempt(
        self,
        number_of: int,
        problems: ModelProblems,
        seeds: Sequence[int],
        settings: S,
        start: Start | None,
        spent: Int[Tensor, " batch"] | None = None,
    ) -> Plans:
        """One run from its start to its end; `spent` are the model steps of the attempts before."""
        restarts = settings.restarts
        own = [attempt_seed(seed, number_of) for seed in seeds]
        if start is None:
            start = (linear if settings.init == "linear" else zeros)(self.model, problems)
        rows = torch.arange(problems.batch).repeat_interleave(restarts)
        if restarts > 1:
            there = rows.to(problems.goal.device)
            problems, settings, start = problems.rows(there), settings.rows(rows), start.rows(there)
            own = [restart_seed(seed, restart) for seed in own for restart in range(restarts)]
        run = begin(self.model, problems, own, start)
        limits = _limits(settings, run, self.deadline, None if spent is None else spent[rows])
        return solve(run, self.planner.search(settings, run), limits, self._progress(number_of, settings.attempts))

    def _progress(self, attempt: int, attempts: int) -> OnStep | None:
        on_step = self.on_step
        if on_step is None:
            return None
        return lambda done, total: on_step(attempt * total + done, attempts * total)


def _limits(settings: SearchSettings, run: Run, deadline: float | None, spent: Int[Tensor, " rows"] | None) -> Limits:
    batch = run.problems.batch
    evaluations = None
    if settings.max_evaluations is not None:
        left = torch.full((batch,), settings.max_evaluations) - (0 if spent is None else spent)
        evaluations = torch.div(left, settings.restarts, rounding_mode="floor")
    return Limits(
        iterations=torch.as_tensor(settings.iterations).expand(batch),
        finish_cost=torch.as_tensor(settings.finish_cost, dtype=torch.float64).to(run.best_cost).expand(batch),
        evaluations=evaluations,
        deadline=deadline,
        restarts=settings.restarts,
    )


def _open_rows(settings: SearchSettings, plans: Plans) -> Int[Tensor, " rows"]:
    """The problems that are worth a further attempt, on the CPU."""
    left_early = torch.tensor([status is PlanStatus.REACHED for status in plans.status])
    enough = torch.maximum(
        *(torch.as_tensor(cost, dtype=torch.float64) for cost in (settings.reached_cost, settings.finish_cost))
    )
    wanting = ~(left_early | (plans.cost <= enough.to(plans.cost)).cpu())
    if settings.max_evaluations is not None:
        wanting &= plans.evaluations < settings.max_evaluations
    return torch.nonzero(wanting).flatten()


def _deadline(settings: SearchSettings, batch: int) -> float | None:
    return None if settings.max_seconds is None else time.perf_counter() + settings.max_seconds * batch


@contextmanager
def _memory_errors(problems: ModelProblems) -> Iterator[None]:
    """Turn what torch raises without memory into PlannerMemoryError."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise PlannerMemoryError(problems.batch, str(problems.goal.device)) from error
    except RuntimeError as error:
        # On a CPU torch has no class of its own for it.
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise PlannerMemoryError(problems.batch, str(problems.goal.device)) from error
