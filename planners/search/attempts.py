"""Further attempts for problems that an attempt left unsolved in the model; solved problems cost nothing more."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from planners.base import Plans
from planners.search.loop import Ended
from planners.search.search_run import Rows
from planners.settings import Number
from world_models.seeding import stable_seed


def attempt_seed(seed: int, attempt: int) -> int:
    """Noise seed of a problem's attempt; the first attempt uses the problem's own seed."""
    return seed if attempt == 0 else stable_seed(f"{seed}/attempt {attempt}", 6)


def restart_seed(seed: int, restart: int) -> int:
    """Noise seed of one of the rows that plan a problem in parallel; the first row uses the problem's own seed."""
    return seed if restart == 0 else stable_seed(f"{seed}/restart {restart}", 6)


def part_of(plans: Plans, rows: Int[Tensor, " rows"]) -> Plans:
    """The plans of some rows (indices on the CPU); the same object if these are all rows in order."""
    if len(rows) == len(plans.status) and torch.equal(rows, torch.arange(len(rows))):
        return plans
    device_rows = rows.to(plans.cost.device)
    return Plans(
        actions=plans.actions[device_rows],
        states=plans.states[device_rows],
        cost=plans.cost[device_rows],
        last_cost=plans.last_cost[device_rows],
        status=tuple(plans.status[row] for row in rows.tolist()),
        evaluations=plans.evaluations[rows],
        trace=plans.trace[device_rows],
        spent=plans.spent[rows],
    )


def merged(plans: Plans, further: Plans, rows: Int[Tensor, " rows"]) -> Plans:
    """Both attempts' plans merged: the better plan of each row, evaluations summed, traces concatenated."""
    improved = (further.cost < plans.cost[rows]) | ~torch.isfinite(plans.cost[rows])
    better, taken = rows[improved], torch.nonzero(improved).flatten()

    def with_better_rows(old: Tensor, new: Tensor) -> Tensor:
        return old.index_copy(0, better, new[taken])

    status = list(plans.status)
    for row, source in zip(better.tolist(), taken.tolist(), strict=True):
        status[row] = further.status[source]
    return Plans(
        actions=with_better_rows(plans.actions, further.actions),
        states=with_better_rows(plans.states, further.states),
        cost=with_better_rows(plans.cost, further.cost),
        last_cost=plans.last_cost.index_copy(0, rows, further.last_cost),
        status=tuple(status),
        evaluations=plans.evaluations.index_add(0, rows.cpu(), further.evaluations),
        trace=torch.cat([plans.trace, _continued(plans.trace, further.trace, rows)], 1),
        spent=torch.cat([plans.spent, _spent(plans, further, rows.cpu())], 1),
    )


def _continued(
    trace: Float[Tensor, "batch checks"], further: Float[Tensor, "rows further"], rows: Int[Tensor, " rows"]
) -> Float[Tensor, "batch further"]:
    """The best cost so far during a further attempt; rows that take no part keep their last cost."""
    last = trace[:, -1:].expand(-1, further.shape[1])
    return last.index_copy(0, rows, torch.minimum(last[rows], further))


def _spent(plans: Plans, further: Plans, rows: Int[Tensor, " rows"]) -> Int[Tensor, "batch further"]:
    """Model steps spent by the checks of a further attempt, counted from the first attempt."""
    before = plans.evaluations[:, None].expand(-1, further.spent.shape[1])
    return before.index_add(0, rows, further.spent)


class Attempts:
    """The attempts of a call's problems, in waves that are planned one after another; all tensors are on the CPU."""

    def __init__(self, problems: int, attempts: int, target_cost: Number, max_evaluations: int | None) -> None:
        """Each problem gets at most `attempts`; no further one once its cost is at most `target_cost` or its budget spent."""
        self._attempts, self._target_cost = attempts, torch.as_tensor(target_cost, dtype=torch.float64).expand(problems)
        self._budget = max_evaluations
        self.waiting: Rows = torch.arange(problems)
        """Problems whose next attempt has not begun."""
        self.started: Int[Tensor, " problems"] = torch.zeros(problems, dtype=torch.int64)
        """Attempts begun per problem."""
        self.spent: Int[Tensor, " problems"] = torch.zeros(problems, dtype=torch.int64)
        """Model steps of each problem's finished attempts."""
        self._cost: Float[Tensor, " problems"] = torch.full((problems,), torch.inf, dtype=torch.float64)
        self._reached: Bool[Tensor, " problems"] = torch.zeros(problems, dtype=torch.bool)
        self._wave: Rows = torch.arange(0)
        """The problem that each position of the wave plans."""
        self._number: Int[Tensor, " wave"] = torch.arange(0)
        """The attempt number of each position, from 0."""

    def begin(self) -> Rows:
        """Begin a wave of all waiting problems and return them."""
        self._wave, self._number = torch.arange(0), torch.arange(0)
        return self.join()

    def join(self) -> Rows:
        """Append all waiting problems to the wave and return them."""
        rows, self.waiting = self.waiting, torch.arange(0)
        self._wave, self._number = torch.cat([self._wave, rows]), torch.cat([self._number, self.started[rows]])
        self.started[rows] += 1
        return rows

    def end(self, ended: Ended) -> None:
        """Record that these positions of the wave have ended; problems that merit another attempt wait for it."""
        rows = self._wave[ended.problems]
        cost, before = ended.cost.to(self._cost), self._cost[rows]
        better = (cost < before) | ~torch.isfinite(before)
        self._cost[rows] = torch.where(better, cost, before)
        self._reached[rows] = torch.where(better, ended.reached, self._reached[rows])
        self.spent[rows] += ended.evaluations
        # Compared in the planner's dtype: a cost that just meets the target must do so here and there.
        target_met = self._target_cost[rows].to(ended.cost).cpu() >= self._cost[rows].to(ended.cost).cpu()
        closed = self._reached[rows] | target_met | (self.started[rows] >= self._attempts)
        if self._budget is not None:
            closed |= self.spent[rows] >= self._budget
        self.waiting = torch.cat([self.waiting, rows[~closed]]).sort().values

    def merge(self, plans: Plans | None, found: Plans) -> Plans:
        """Merge the plans of the earlier waves with those of this one, problem by problem."""
        for number in self._number.unique().tolist():
            positions = torch.nonzero(self._number == number).flatten()
            part, rows = part_of(found, positions), self._wave[positions]
            plans = part if plans is None else merged(plans, part, rows.to(found.cost.device))
        assert plans is not None, "a wave has at least one problem"
        return plans
