"""GD: shooting, gradient descent on the actions through the whole rollout. GRASP's serial baseline, and its sync."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planners.noise import RowNoise
from planners.objectives import final_cost_gradient
from planners.optimizers import make_optimizer
from planners.run import Rows, Run
from planners.search import SearchPlanner, SearchSettings
from planners.settings import Count, Number, any_positive, choice, number, per_row


@dataclass(frozen=True)
class GDSettings(SearchSettings):
    """GD's hyperparameters, in normalised action units."""

    lr: Number = number(0.1, positive=True)
    optimizer: str = choice("adam", "gd")
    init_noise: Number = number(0.0)
    """Standard deviation of the noise on the initial actions."""


class Descent:
    """Gradient steps on the goal cost of the true, serial rollout: actions only; every rollout is offered to the run."""

    def __init__(
        self, run: Run, actions: Float[Tensor, "batch time action"], optimizer: str, lr: Number, rows: Rows | None = None
    ) -> None:
        self._run = run
        self._rows = rows
        self._problems = run.problems if rows is None else run.problems.rows(rows.to(actions.device))
        self._optimizer = make_optimizer(optimizer, actions, lr)
        self.actions = actions
        """Changed in place."""

    def step(self) -> None:
        """One gradient step; the rollout that the gradient needs checks the iterate before it."""
        run = self._run
        cost, gradient = final_cost_gradient(run.model, self._problems, self.actions)
        run.spend(run.problems.steps, self._rows)
        run.offer(self.actions, cost, self._rows)
        self._optimizer.update(self.actions, gradient)
        run.project(self.actions)

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
                self._narrow(stay)
            self.step()
        result[going.to(result.device)] = self.actions
        self.actions = result

    def keep(self, rows: Rows) -> None:
        """Go on with these of the rows, after the run has been narrowed."""
        self.actions = self.actions[rows.to(self.actions.device)]
        self._optimizer.keep(rows)
        self._problems = self._run.problems

    def _narrow(self, stay: Rows) -> None:
        """Go on with some of the rows while the run goes on with all."""
        there = stay.to(self.actions.device)
        self._rows = stay if self._rows is None else self._rows[stay]
        self.actions, self._problems = self.actions[there], self._problems.rows(there)
        self._optimizer.keep(stay)


class GDSearch:
    """The iterate of a GD run: actions and their moments."""

    def __init__(self, settings: GDSettings, run: Run) -> None:
        actions = run.start.actions.clone()
        if any_positive(settings.init_noise):
            start = RowNoise(run.seeds, "initial actions", actions.shape[1:], actions)
            actions += start.at(0) * per_row(settings.init_noise, actions)
            run.project(actions)
        self._descent = Descent(run, actions, settings.optimizer, settings.lr)

    @property
    def actions(self) -> Float[Tensor, "batch time action"]:
        """The current iterate."""
        return self._descent.actions

    def step(self, iteration: int) -> None:
        """One gradient step."""
        self._descent.step()

    def keep(self, rows: Rows) -> None:
        """Go on with these of the rows."""
        self._descent.keep(rows)


@dataclass(frozen=True)
class GD(SearchPlanner[GDSettings]):
    """The shooting planner: `GD(GDSettings(...)).plan(model, problems, seeds)`."""

    settings: GDSettings = GDSettings()

    def search(self, settings: GDSettings, run: Run) -> GDSearch:
        """Actions and their moments."""
        return GDSearch(settings, run)
