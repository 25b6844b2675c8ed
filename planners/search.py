"""What all our planners share: restarts, further attempts, budgets and starts around one search."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from planners.attempts import attempt_seed, merged, restart_seed
from planners.base import ModelProblems, OnStep, PlannerMemoryError, Plans, PlanStatus, Start
from planners.explore import explore
from planners.initialisers import linear, zeros
from planners.run import Run, Search, begin, check_problems
from planners.settings import Count, Number, Settings, choice, count, number
from planners.solve import Limits, solve
from planners.tree import ExploreSettings
from world_models.base import WorldModel
from world_models.precision import matmul_precision

S = TypeVar("S", bound="SearchSettings")


_TREE = ExploreSettings()


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
    precision: str = choice("high", "highest", "medium")
    """Leave to round in the model's matrix products, in torch's words. `high`: TF32 on CUDA; on CPUs with AMX tiles 16 bits of
    values and 8 of gradients, with AVX-512 and bfloat16 all of values and 8 of gradients. `medium`: bfloat16. `highest`, and
    wherever nothing faster is known: the model's own type."""
    init: str = choice("linear", "zeros", "explore")
    """Where a search starts: null actions, with virtual states on the straight line to the goal (`linear`) or where null
    actions lead (`zeros`); or the branches of a tree of model rollouts that end nearest the goal (`explore`), as many as there
    are restarts, from a new tree in each attempt. The `explore_` settings are those of `planners.tree.ExploreSettings`."""
    explore_rounds: int = count(_TREE.rounds)
    explore_nodes: int = count(_TREE.nodes)
    explore_hold: int = count(_TREE.hold)
    explore_spread: float = number(_TREE.spread, positive=True, by_row=False)
    explore_keep: float = number(_TREE.keep, high=1.0, by_row=False)
    explore_radius: float = number(_TREE.radius, positive=True, by_row=False)
    explore_novelty: float = number(_TREE.novelty, by_row=False)
    explore_goal_share: float = number(_TREE.goal_share, high=1.0, by_row=False)
    explore_greed: float = number(_TREE.greed, by_row=False)
    explore_candidates: int = count(_TREE.candidates)

    def tree(self) -> ExploreSettings:
        """The settings of a tree."""
        names = [field.name for field in fields(ExploreSettings)]
        return ExploreSettings(**{name: getattr(self, f"explore_{name}") for name in names})


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
        precision = matmul_precision(self.settings.precision, model.device)
        with torch.no_grad(), _memory_errors(problems), precision:
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
        rows = torch.arange(problems.batch).repeat_interleave(restarts)
        there = rows.to(problems.goal.device)
        if start is not None:
            start, explored = start.rows(there), 0
        else:
            start, explored = _start(settings, self.model, problems, own)
        if restarts > 1:
            problems, settings = problems.rows(there), settings.rows(rows)
            own = [restart_seed(seed, restart) for seed in own for restart in range(restarts)]
        run = begin(self.model, problems, own, start)
        run.spend(explored)
        limits = _limits(settings, run, self.deadline, None if spent is None else spent[rows])
        return solve(run, self.planner.search(settings, run), limits, self._progress(number_of, settings.attempts))

    def _progress(self, attempt: int, attempts: int) -> OnStep | None:
        on_step = self.on_step
        if on_step is None:
            return None
        return lambda done, total: on_step(attempt * total + done, attempts * total)


def _start(settings: SearchSettings, model: WorldModel, problems: ModelProblems, seeds: Sequence[int]) -> tuple[Start, int]:
    """Where the rows of an attempt start, `restarts` a problem, and the model steps that each row's share of it took."""
    restarts = settings.restarts
    if settings.init == "explore":
        branches = explore(model, problems, seeds, restarts, settings.tree())
        states = branches.states[:, :, :-1].flatten(0, 1)
        # The tree is the problem's: its cost is split between the restarts, rounded up.
        return Start(branches.actions.flatten(0, 1), states), -(-branches.evaluations // restarts)
    start = (linear if settings.init == "linear" else zeros)(model, problems)
    rows = torch.arange(problems.batch, device=problems.goal.device).repeat_interleave(restarts)
    return start.rows(rows), problems.steps if settings.init == "zeros" else 0


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
