"""What refines actions on the rolled-out cost: steps that change rows in place, each row for its own number of them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from planners.run import Rows, Run
from planners.settings import Count


class Refiner(ABC):
    """Actions of a run, or of some of its searched rows, that steps make better."""

    def __init__(self, run: Run, actions: Float[Tensor, "batch time action"], rows: Rows | None) -> None:
        self.run = run
        self.rows = rows
        """Which of the run's searched rows these are; None for all."""
        self.problems = run.problems if rows is None else run.problems.rows(rows.to(actions.device))
        self.actions = actions
        """Changed in place."""

    @abstractmethod
    def step(self) -> None:
        """One step; what it rolls out is offered to the run."""

    def run_for(self, steps: Count) -> None:
        """So many steps; where they differ by row, each row ends after its own."""
        if not isinstance(steps, Tensor):
            for _ in range(steps):
                self.step()
            return
        result, going = self.actions, torch.arange(len(steps))
        self.actions = result.clone()
        for done in range(int(steps.max())):
            stay = torch.nonzero(steps[going] > done).flatten()
            if len(stay) < len(going):
                result[going.to(result.device)] = self.actions
                going = going[stay]
                self.narrow(stay)
                self.rows = stay if self.rows is None else self.rows[stay]
            self.step()
        result[going.to(result.device)] = self.actions
        self.actions = result

    def keep(self, rows: Rows) -> None:
        """Go on with these of the rows, after the run itself has been narrowed to them."""
        self.narrow(rows)
        self.problems = self.run.problems

    def narrow(self, rows: Rows) -> None:
        """Leave out all but these of the rows; subclasses narrow what they hold."""
        there = rows.to(self.actions.device)
        self.actions, self.problems = self.actions[there], self.problems.rows(there)
