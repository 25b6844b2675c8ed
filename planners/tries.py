"""The attempts of one call: which problems have had how many, which are worth another, and what all of them come to."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from planners.attempts import merged, part_of
from planners.base import Plans
from planners.run import Rows
from planners.settings import Number
from planners.solve import Ended


class Tries:
    """The attempts of a call's problems, in waves that are planned one after the other; everything is on the CPU."""

    def __init__(self, problems: int, attempts: int, enough: Number, max_evaluations: int | None) -> None:
        """Each problem gets `attempts` at most, and no further one at a goal cost of `enough` or once its budget is spent."""
        self._attempts, self._enough = attempts, torch.as_tensor(enough, dtype=torch.float64).expand(problems)
        self._budget = max_evaluations
        self.waiting: Rows = torch.arange(problems)
        """Problems that are worth an attempt and have not begun it."""
        self.begun: Int[Tensor, " problems"] = torch.zeros(problems, dtype=torch.int64)
        """Attempts that each has begun."""
        self.spent: Int[Tensor, " problems"] = torch.zeros(problems, dtype=torch.int64)
        """Model steps of those that have ended."""
        self._cost: Float[Tensor, " problems"] = torch.full((problems,), torch.inf, dtype=torch.float64)
        self._reached: Bool[Tensor, " problems"] = torch.zeros(problems, dtype=torch.bool)
        self._wave: Rows = torch.arange(0)
        """Which problem each place of the wave is an attempt of."""
        self._number: Int[Tensor, " places"] = torch.arange(0)
        """Which attempt."""

    def begin(self) -> Rows:
        """A wave of all that wait; which problems those are."""
        self._wave, self._number = torch.arange(0), torch.arange(0)
        return self.join()

    def join(self) -> Rows:
        """All that wait come into the wave, behind those that are there."""
        rows, self.waiting = self.waiting, torch.arange(0)
        self._wave, self._number = torch.cat([self._wave, rows]), torch.cat([self._number, self.begun[rows]])
        self.begun[rows] += 1
        return rows

    def end(self, ended: Ended) -> None:
        """These places of the wave have ended; what is worth another attempt waits for it."""
        rows = self._wave[ended.problems]
        cost, before = ended.cost.to(self._cost), self._cost[rows]
        better = (cost < before) | ~torch.isfinite(before)
        self._cost[rows] = torch.where(better, cost, before)
        self._reached[rows] = torch.where(better, ended.reached, self._reached[rows])
        self.spent[rows] += ended.evaluations
        # Both in the type that the planner compares in: a cost that is just enough must be so on either side.
        enough = self._enough[rows].to(ended.cost).cpu() >= self._cost[rows].to(ended.cost).cpu()
        closed = self._reached[rows] | enough | (self.begun[rows] >= self._attempts)
        if self._budget is not None:
            closed |= self.spent[rows] >= self._budget
        self.waiting = torch.cat([self.waiting, rows[~closed]]).sort().values

    def collected(self, plans: Plans | None, found: Plans) -> Plans:
        """The plans of the waves before and those of this one, problem by problem."""
        for number in self._number.unique().tolist():
            places = torch.nonzero(self._number == number).flatten()
            part, rows = part_of(found, places), self._wave[places]
            plans = part if plans is None else merged(plans, part, rows.to(found.cost.device))
        assert plans is not None, "a wave has places"
        return plans
