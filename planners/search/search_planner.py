"""Base class of the built-in planners: restarts, further attempts, budgets and starts around one search."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import ClassVar, Generic, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from planners.base import ModelProblems, OnStep, PlannerMemoryError, Plans, Start
from planners.search.attempts import Attempts, attempt_seed, restart_seed
from planners.search.explored_starts import explore
from planners.search.initialisers import linear, zeros
from planners.search.loop import AddedRows, Ended, Limits, solve
from planners.search.rollout_tree import ExploreSettings
from planners.search.search_run import JoinableSearch, Rows, Run, Search, begin, check_problems
from planners.settings import MOST_EVALUATIONS, Count, Number, Settings, choice, count, number
from world_models.base import WorldModel
from world_models.precision import matmul_precision

S = TypeVar("S", bound="SearchSettings")


_TREE = ExploreSettings()


@dataclass(frozen=True)
class SearchSettings(Settings):
    """Settings that every built-in planner has."""

    draws_classes: ClassVar[bool] = False
    """Whether the planner draws classes where actions are such; the others relax them, and round what they find."""
    iterations: Count = count(300, by_row=True)
    restarts: int = count(1, high=10_000)
    """Rows per problem, planned in parallel with independent noise; the best rolled-out plan of all is kept."""
    attempts: int = count(1, high=10_000)
    """Most attempts per problem, one after another, each with its own noise; the best plan of all is kept."""
    reached_cost: Number = number(0.0)
    """A problem whose rolled-out goal cost is at most this gets no further attempt."""
    finish_cost: Number = number(0.0)
    """A problem whose rolled-out goal cost is at most this leaves the batch at once, so that the others proceed faster; it
    gets no further attempt."""
    max_evaluations: int | None = count(None, high=MOST_EVALUATIONS)
    """Model steps per problem; the iteration in which they are used up is its last. None: no limit."""
    max_seconds: float | None = number(None, positive=True, by_row=False)
    """Wall-clock seconds per problem: B problems planned together may take B times as long. None: no limit."""
    precision: str = choice("high", "highest", "medium")
    """Precision of the model's matrix products, in torch's terms. `high`: TF32 on CUDA; on CPUs with AMX tiles, values with 16
    significant bits and gradients with 8; on CPUs with AVX-512 and bfloat16, full values and gradients with 8 bits. `medium`:
    bfloat16. `highest`, and wherever nothing faster is available: the model's own dtype."""
    init: str = choice("linear", "zeros", "explore")
    """Start of a search: null actions, with virtual states on the straight line to the goal (`linear`) or on the null actions'
    rollout (`zeros`); or the branches of a tree of model rollouts that end nearest the goal (`explore`), one per restart, from
    a new tree in each attempt. The `explore_` settings are those of `planners.search.rollout_tree.ExploreSettings`."""
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

    @property
    def keeps_last(self) -> bool:
        """Whether a plan is the iterate that the search ended with, and not the best one that was rolled out."""
        return False

    def tree(self) -> ExploreSettings:
        """The settings of a tree."""
        names = [field.name for field in fields(ExploreSettings)]
        return ExploreSettings(**{name: getattr(self, f"explore_{name}") for name in names})


@dataclass(frozen=True)
class SearchPlanner(ABC, Generic[S]):
    """A planner made of settings and a search; subclasses define `search`."""

    settings: S

    @abstractmethod
    def search(self, settings: S, run: Run) -> Search:
        """The search of one run; tensors in `settings` have one entry per row."""

    def plan(
        self,
        model: WorldModel,
        problems: ModelProblems,
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        start: Start | None = None,
    ) -> Plans:
        """One plan per problem; the first attempt begins at `start` if given, the others as `settings.init` says.

        Raises UserError if problems, seeds, start, settings and model do not fit together, PlannerMemoryError out of memory.
        """
        check_problems(model, problems, seeds, start)
        self.settings.check_rows(problems.batch)
        deadline = _deadline(self.settings, problems.batch)
        precision = matmul_precision(self.settings.precision, model.device)
        with torch.no_grad(), _memory_errors(problems), precision:
            return _Call(self, model, problems, tuple(seeds), on_step, deadline).plans(start)


@dataclass(frozen=True)
class _StartedRows(Generic[S]):
    """Rows whose search is about to begin."""

    run: Run
    settings: S
    limits: Limits


class _Call(Generic[S]):
    """One call of `plan`: the attempts of its problems, in waves.

    A wave is one run. A problem that merits a further attempt joins the wave while others of it are still searched, so that no
    problem waits for the slowest; where all end at once, or the search can't be joined, the next attempts form a new wave.
    """

    def __init__(
        self,
        planner: SearchPlanner[S],
        model: WorldModel,
        problems: ModelProblems,
        seeds: tuple[int, ...],
        on_step: OnStep | None,
        deadline: float | None,
    ) -> None:
        settings = planner.settings
        self._planner, self._settings, self._model, self._problems, self._seeds = planner, settings, model, problems, seeds
        self._on_step, self._deadline = on_step, deadline
        costs = (torch.as_tensor(cost, dtype=torch.float64) for cost in (settings.reached_cost, settings.finish_cost))
        self._attempts = Attempts(problems.batch, settings.attempts, torch.maximum(*costs), settings.max_evaluations)

    def plans(self, start: Start | None) -> Plans:
        """The best plan of each problem; the first attempts begin at `start` if given."""
        plans, wave = None, 0
        while wave == 0 or (len(self._attempts.waiting) and not self._past_deadline()):
            started = self._begin(self._attempts.begin(), start)
            search = self._planner.search(started.settings, started.run)
            on_end = self._on_end_refill if isinstance(search, JoinableSearch) else self._on_end
            found = solve(started.run, search, started.limits, self._progress(wave), on_end)
            plans, start = self._attempts.merge(plans, found), None
            wave += 1
        assert plans is not None
        return plans

    def _on_end(self, ended: Ended, run_continues: bool) -> None:
        """Note the ended problems; further attempts begin when the wave is over."""
        self._attempts.end(ended)

    def _on_end_refill(self, ended: Ended, run_continues: bool) -> AddedRows | None:
        """Note the ended problems; further attempts join the wave if it continues."""
        self._attempts.end(ended)
        if not run_continues or not len(self._attempts.waiting) or self._past_deadline():
            return None
        started = self._begin(self._attempts.join(), None)
        search = self._planner.search(started.settings, started.run)
        assert isinstance(search, JoinableSearch), "all searches of a planner are of the same kind"
        return AddedRows(started.run, search, started.limits)

    def _past_deadline(self) -> bool:
        """Whether the time budget is used up."""
        return self._deadline is not None and time.perf_counter() >= self._deadline

    def _begin(self, problem_rows: Rows, start: Start | None) -> _StartedRows[S]:
        """Begin the next attempt of some problems, from `start` if given."""
        is_all = len(problem_rows) == self._problems.batch
        problems = self._problems if is_all else self._problems.rows(problem_rows.to(self._problems.goal.device))
        settings = self._settings if is_all else self._settings.rows(problem_rows)
        numbers = (self._attempts.started[problem_rows] - 1).tolist()
        own = [attempt_seed(self._seeds[row], number) for row, number in zip(problem_rows.tolist(), numbers, strict=True)]
        restarts = settings.restarts
        rows = torch.arange(problems.batch).repeat_interleave(restarts)
        device_rows = rows.to(problems.goal.device)
        if start is not None:
            start, explored = start.rows(device_rows), 0
        else:
            start, explored = _start(settings, self._model, problems, own)
        if restarts > 1:
            problems, settings = problems.rows(device_rows), settings.rows(rows)
            own = [restart_seed(seed, restart) for seed in own for restart in range(restarts)]
        run = begin(self._model, problems, own, start)
        run.spend(explored)
        return _StartedRows(run, settings, _limits(settings, run, self._deadline, self._attempts.spent[problem_rows][rows]))

    def _progress(self, wave: int) -> OnStep | None:
        on_step, attempts = self._on_step, self._settings.attempts
        if on_step is None:
            return None
        return lambda done, total: on_step(wave * total + done, attempts * total)


def _start(settings: SearchSettings, model: WorldModel, problems: ModelProblems, seeds: Sequence[int]) -> tuple[Start, int]:
    """The start of an attempt's rows, `restarts` per problem, and the model steps that each row is charged for it."""
    restarts = settings.restarts
    if settings.init == "explore":
        branches = explore(model, problems, seeds, restarts, settings.tree())
        states = branches.states[:, :, :-1].flatten(0, 1)
        # The tree is the problem's: its cost is split between the restarts, rounded up.
        return Start(branches.actions.flatten(0, 1), states), -(-branches.evaluations // restarts)
    start = (linear if settings.init == "linear" else zeros)(model, problems)
    rows = torch.arange(problems.batch, device=problems.goal.device).repeat_interleave(restarts)
    return start.rows(rows), problems.steps if settings.init == "zeros" else 0


def _limits(settings: SearchSettings, run: Run, deadline: float | None, spent: Int[Tensor, " rows"]) -> Limits:
    batch = run.problems.batch
    evaluations = None
    if settings.max_evaluations is not None:
        left = settings.max_evaluations - spent
        evaluations = torch.div(left, settings.restarts, rounding_mode="floor")
    return Limits(
        iterations=torch.as_tensor(settings.iterations).expand(batch),
        finish_cost=torch.as_tensor(settings.finish_cost, dtype=torch.float64).to(run.best_cost).expand(batch),
        evaluations=evaluations,
        deadline=deadline,
        restarts=settings.restarts,
        keep_last=settings.keeps_last,
    )


def _deadline(settings: SearchSettings, batch: int) -> float | None:
    return None if settings.max_seconds is None else time.perf_counter() + settings.max_seconds * batch


@contextmanager
def _memory_errors(problems: ModelProblems) -> Iterator[None]:
    """Turn torch's out-of-memory errors into PlannerMemoryError."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise PlannerMemoryError(problems.batch, str(problems.goal.device)) from error
    except RuntimeError as error:
        # On the CPU torch raises a plain RuntimeError.
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise PlannerMemoryError(problems.batch, str(problems.goal.device)) from error
