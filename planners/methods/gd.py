"""GD: shooting, that is, gradient descent on the actions through the whole rollout. GRASP's serial baseline, and its sync."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from planners.objectives import final_cost_gradient
from planners.search.noise import RowNoise
from planners.search.search_planner import SearchPlanner, SearchSettings
from planners.search.search_run import Rows, Run
from planners.settings import Number, any_positive, choice, number, per_row
from planners.updates.optimizers import make_optimizer
from planners.updates.refiner import Refiner


@dataclass(frozen=True)
class GDSettings(SearchSettings):
    """GD's hyperparameters, in normalised action units."""

    lr: Number = number(0.1, positive=True)
    optimizer: str = choice("adam", "gd")
    init_noise: Number = number(0.0)
    """Standard deviation of the noise on the initial actions."""


class Descent(Refiner):
    """Refiner by gradient steps on the goal cost of the serial rollout, over actions only; the run records every rollout."""

    def __init__(self, run: Run, optimizer: str, lr: Number) -> None:
        super().__init__(run)
        self._optimizer = make_optimizer(optimizer, run.start.actions, lr)

    def begin(self, rows: Rows | None = None) -> None:
        """Reset the optimizer's moments of these rows."""
        self._optimizer.reset(rows)

    def step(self, actions: Float[Tensor, "batch time action"], rows: Rows | None = None) -> None:
        """Take one gradient step; the rollout that the gradient needs also checks the iterate before the step."""
        run = self._run
        problems, before = self._part(actions, rows)
        cost, gradient = final_cost_gradient(run.model, problems, before)
        run.spend(problems.steps, rows)
        run.record(before, cost, rows)
        self._optimizer.update(actions, run.tangent(gradient), rows)
        run.project(actions)

    def keep(self, rows: Rows) -> None:
        """Keep only the moments of these rows."""
        self._optimizer.keep(rows)

    def join(self, others: Descent) -> None:
        """Append the moments of the rows of `others`."""
        self._optimizer.join(others._optimizer)


class GDSearch:
    """State of a GD run: actions and their moments."""

    def __init__(self, settings: GDSettings, run: Run) -> None:
        actions = run.start.actions.clone()
        if any_positive(settings.init_noise):
            start = RowNoise(run.seeds, "initial actions", actions.shape[1:], actions)
            actions += start.at(0) * per_row(settings.init_noise, actions)
            run.project(actions)
        self.actions: Float[Tensor, "batch time action"] = actions
        self._descent = Descent(run, settings.optimizer, settings.lr)

    def step(self, iteration: int) -> None:
        """Take one gradient step."""
        self._descent.step(self.actions)

    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""
        self.actions = self.actions[rows.to(self.actions.device)]
        self._descent.keep(rows)


@dataclass(frozen=True)
class GD(SearchPlanner[GDSettings]):
    """The shooting planner: `GD(GDSettings(...)).plan(model, problems, seeds)`."""

    settings: GDSettings = GDSettings()

    def search(self, settings: GDSettings, run: Run) -> GDSearch:
        """Search over the actions by gradient descent."""
        return GDSearch(settings, run)
