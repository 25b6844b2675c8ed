"""GD: shooting, gradient descent on the actions through the whole rollout. GRASP's serial baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planners.attempts import AttemptSettings, with_attempts
from planners.base import ModelProblems, OnStep, Plans
from planners.initialisers import null_actions
from planners.noise import RowNoise
from planners.objectives import final_cost_gradient
from planners.optimizers import make_optimizer
from planners.settings import choice, count, number, per_row
from planners.solve import Run, begin, solve
from world_models.base import WorldModel


@dataclass(frozen=True)
class GDSettings(AttemptSettings):
    """GD's hyperparameters, in normalised action units."""

    iterations: int = count(300)
    lr: float = number(0.1, positive=True)
    optimizer: str = choice("adam", "gd")
    init_noise: float = number(0.0)
    """Standard deviation of the noise on the initial actions."""


class GDSearch:
    """The iterate of a GD run: actions and their moments."""

    def __init__(self, settings: GDSettings, run: Run) -> None:
        self._run = run
        self.actions: Float[Tensor, "batch time action"] = null_actions(run.problems, run.model.action_dim)
        if settings.init_noise:
            start = RowNoise(run.seeds, "initial actions", self.actions.shape[1:], self.actions)
            self.actions += start.at(0) * per_row(settings.init_noise, self.actions)
            run.project(self.actions)
        self._optimizer = make_optimizer(settings.optimizer, self.actions, settings.lr)

    def step(self, iteration: int) -> None:
        """One gradient step; the rollout that the gradient needs checks the iterate before it."""
        run = self._run
        cost, gradient = final_cost_gradient(run.model, run.problems, self.actions)
        run.spend(run.problems.steps)
        run.offer(self.actions, cost)
        self._optimizer.update(self.actions, gradient)
        run.project(self.actions)


@dataclass(frozen=True)
class GD:
    """The shooting planner: `GD(GDSettings(...)).plan(model, problems, seeds)`."""

    settings: GDSettings = GDSettings()

    def plan(self, model: WorldModel, problems: ModelProblems, seeds: Sequence[int], on_step: OnStep | None = None) -> Plans:
        """One plan a problem; UserError when problems, seeds and model do not fit together."""

        def attempt(problems: ModelProblems, seeds: Sequence[int], on_step: OnStep | None) -> Plans:
            run = begin(model, problems, seeds)
            return solve(run, GDSearch(self.settings, run), self.settings.iterations, on_step)

        with torch.no_grad():
            return with_attempts(self.settings, attempt, problems, seeds, on_step)
