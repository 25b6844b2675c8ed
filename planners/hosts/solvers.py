"""Solvers of stable-worldmodel as planners of ours, so that theirs and ours are compared in one sweep.

`HostSolver(lambda cost, seed: CEMSolver(cost, num_samples=300, seed=seed)).plan(model, problems, seeds)`

A solver sees its own protocol: a cost object with `get_cost`, an action space, a configuration, an info. Behind the cost are
our model, our goal cost and our bounds. Each problem is solved alone by a solver of its own, as upstream's default batch of one
does, so that rows are independent and each has its own seed.
"""

from __future__ import annotations

import contextlib
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from planners.base import ModelProblems, OnStep, Plans, PlanStatus, Start
from planners.objectives import final_cost, sampled_costs
from planners.search.initialisers import null_actions
from planners.search.search_run import check_problems
from planners.settings import Settings
from world_models.base import WorldModel, rollout
from world_models.errors import require


@runtime_checkable
class Solver(Protocol):
    """The part of a host's solver that is used."""

    def configure(self, *, action_space: Any, n_envs: int, config: Any) -> None:
        """Take the action space of all environments together and a configuration with `horizon` and `action_block`."""
        ...

    def solve(self, info_dict: dict, init_action: Tensor | None = None) -> dict:
        """`actions` `[batch, horizon, action]`, from an initial plan if one is given."""
        ...


@dataclass(frozen=True)
class SolverConfig:
    """The configuration that a host's solver reads: model steps of a plan, and one action per step."""

    horizon: int
    receding_horizon: int
    action_block: int = 1
    history_len: int = 1
    warm_start: bool = True


@dataclass
class RowCost:
    """The cost object of one problem, which counts what it is asked for and remembers the best plan.

    Candidates are clamped to the problem's bounds first, as the plan will be.
    """

    model: WorldModel
    problem: ModelProblems
    best: Float[Tensor, "1 time action"]
    """The best finite plan so far, within the bounds."""
    best_cost: float
    evaluations: int
    scale: float = 1.0
    """Factor on the costs that the solver sees."""
    failed: bool = False
    """Whether any cost was not finite."""
    trace: list[float] = field(default_factory=list)
    """The best cost so far, check by check."""
    spent: list[int] = field(default_factory=list)
    """Model steps at each check."""

    @staticmethod
    def of(model: WorldModel, problem: ModelProblems, start: Float[Tensor, "1 time action"], scale: float) -> RowCost:
        """The cost object of a problem, with the start as the first check."""
        cost = RowCost(model, problem, start, torch.inf, 0, scale)
        cost.check(start, final_cost(model, problem, start), problem.steps)
        return cost

    def parameters(self) -> Iterator[Tensor]:
        """A tensor of the model's floating-point type, from which solvers take theirs."""
        return iter([self.problem.goal])

    def criterion(self, info_dict: dict, action_candidates: Tensor) -> Float[Tensor, "1 candidates"]:
        """The same as `get_cost`."""
        return self.get_cost(info_dict, action_candidates)

    def get_cost(self, info_dict: dict, action_candidates: Tensor) -> Float[Tensor, "1 candidates"]:
        """Scaled goal costs of the candidates' rolled-out last states; the info adds nothing."""
        plans = torch.clamp(action_candidates.to(self.problem.goal), self.problem.low, self.problem.high)
        cost = sampled_costs(self.model, self.problem, plans)
        with torch.no_grad():
            ranked = torch.where(torch.isfinite(cost[0]), cost[0], torch.inf)
            best = ranked.argmin()
            self.check(plans[:, best].detach(), ranked[best].detach()[None], plans.shape[1] * self.problem.steps)
        return cost * self.scale

    def check(self, plan: Float[Tensor, "1 time action"], cost: Float[Tensor, "1"], spent: int) -> None:
        """Record a plan, its cost, and the model steps that it took to find it."""
        self.evaluations += spent
        value = float(cost)
        self.failed |= not np.isfinite(value)
        if value < self.best_cost:
            self.best, self.best_cost = plan.clone(), value
        self.trace.append(self.best_cost)
        self.spent.append(self.evaluations)


MakeSolver = Callable[[RowCost, int], Solver]
"""A new solver for the cost object of a problem and its seed."""


@dataclass(frozen=True)
class HostSolver:
    """A host's solver as a `Planner`."""

    make: MakeSolver
    keep: str = "returned"
    """The plan that is kept: the one that the solver returns, as its host executes it (`returned`), or the best candidate that
    it asked for (`best`), as our planners keep. Bounds hold in both."""
    scale: float = 1.0
    """Factor on the costs that the solver sees, for temperatures and rates that refer to the host's units: its objectives sum
    over the features of a state where ours average, so that their number makes up for it. Plans have our costs all the same."""

    def __post_init__(self) -> None:
        require(self.scale > 0, f"scale {self.scale:g} is not positive: give 1, or the number of state features.")
        sentence = f"keep {self.keep!r} is neither 'returned' nor 'best': give one of them."
        require(self.keep in ("returned", "best"), sentence)

    def plan(
        self,
        model: WorldModel,
        problems: ModelProblems,
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        start: Start | None = None,
    ) -> Plans:
        """One plan per problem; progress is counted in problems. Raises UserError as our planners do."""
        check_problems(model, problems, seeds, start)
        first = null_actions(problems, model.action_dim) if start is None else start.actions
        first = torch.clamp(first, problems.low, problems.high)
        rows = []
        with torch.no_grad(), _frozen(model):
            for row, seed in enumerate(seeds):
                problem = problems.rows(slice(row, row + 1))
                rows.append(self._solve(model, problem, int(seed), first[row : row + 1], start is not None))
                if on_step is not None:
                    on_step(row + 1, problems.batch)
        return _joined_rows(rows)

    def _solve(
        self, model: WorldModel, problem: ModelProblems, seed: int, first: Float[Tensor, "1 time action"], warm: bool
    ) -> Plans:
        """The plan of one problem."""
        cost = RowCost.of(model, problem, first, self.scale)
        solver = self.make(cost, seed)
        solver.configure(action_space=_space(problem), n_envs=1, config=SolverConfig(problem.steps, problem.steps))
        info: dict[str, Tensor] = {"state": problem.context.last, "goal": problem.goal}
        # Hosts print how long a solver took, and some draw from the global generator.
        with _own_numbers(seed), contextlib.redirect_stdout(io.StringIO()), torch.enable_grad():
            found = solver.solve(dict(info), init_action=first.clone() if warm else None)["actions"]
        wanted, shape = tuple(first.shape), tuple(found.shape)
        require(shape == wanted, f"{type(solver).__name__} returned actions of shape {shape}, not {wanted}.")
        returned = torch.clamp(found.detach().clone().to(first), problem.low, problem.high)
        last_cost = final_cost(model, problem, returned)
        cost.check(returned, last_cost, problem.steps)
        return self._plans(cost, returned, last_cost)

    def _plans(self, cost: RowCost, returned: Float[Tensor, "1 time action"], last_cost: Float[Tensor, "1"]) -> Plans:
        problem = cost.problem
        kept = returned if self.keep == "returned" and bool(torch.isfinite(last_cost)) else cost.best
        states = rollout(cost.model, problem.context, kept)
        final = problem.goal_cost(states[:, -1], problem.goal)
        trace = torch.tensor([cost.trace], dtype=final.dtype, device=final.device)
        return Plans(
            actions=kept,
            states=states,
            cost=final,
            last_cost=last_cost,
            status=(PlanStatus.NON_FINITE if cost.failed else PlanStatus.COMPLETED,),
            evaluations=torch.tensor([cost.evaluations + problem.steps]),
            trace=torch.maximum(trace, final.unsqueeze(1)),
            spent=torch.tensor([cost.spent]),
        )


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class SolverPlanner(ABC, Generic[S]):
    """Base of planners with settings that are solvers of a host, for sweeps and tuning; subclasses define `solver`."""

    settings: S

    @abstractmethod
    def solver(self, cost: RowCost, seed: int) -> Solver:
        """A new solver of the host with these settings."""

    def plan(
        self,
        model: WorldModel,
        problems: ModelProblems,
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        start: Start | None = None,
    ) -> Plans:
        """One plan per problem, as `HostSolver.plan`."""
        return HostSolver(self.solver).plan(model, problems, seeds, on_step, start)


def _space(problem: ModelProblems) -> Any:
    """The bounds of one environment's actions as a space of the hosts' kind."""
    from gymnasium.spaces import Box

    low, high = (bound.detach().cpu().float().numpy()[None] for bound in (problem.low, problem.high))
    return Box(low, high, dtype=np.float32)


@contextlib.contextmanager
def _own_numbers(seed: int) -> Iterator[None]:
    """Global generators seeded by the row's own seed, and put back afterwards."""
    state = np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            np.random.set_state(state)


@contextlib.contextmanager
def _frozen(model: WorldModel) -> Iterator[None]:
    """Keep gradients out of the model's parameters, into which a solver's `backward` would add them."""
    trained = [one for one in model.parameters() if one.requires_grad] if isinstance(model, nn.Module) else []
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _joined_rows(rows: Sequence[Plans]) -> Plans:
    """The plans of all rows; a row with fewer checks than others keeps its last ones."""
    checks = max(one.trace.shape[1] for one in rows)

    def longest(values: Tensor) -> Tensor:
        return torch.cat([values, values[:, -1:].expand(-1, checks - values.shape[1])], 1)

    joined: Mapping[str, Tensor] = {
        name: torch.cat([getattr(one, name) for one in rows])
        for name in ("actions", "states", "cost", "last_cost", "evaluations")
    }
    return Plans(
        **joined,
        status=tuple(status for one in rows for status in one.status),
        trace=torch.cat([longest(one.trace) for one in rows]),
        spent=torch.cat([longest(one.spent) for one in rows]),
    )
