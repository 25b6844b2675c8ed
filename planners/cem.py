"""CEM: the cross-entropy method over action sequences (Rubinstein 1999), batched over problems."""

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
from planners.objectives import sampled_costs
from planners.settings import count, number, per_row
from planners.solve import Run, begin, solve
from world_models.base import WorldModel
from world_models.errors import require


@dataclass(frozen=True)
class CEMSettings(AttemptSettings):
    """CEM's hyperparameters, in normalised action units."""

    samples: int = count(300)
    """Plans drawn an iteration; one of them is the mean itself."""
    elites: int = count(30)
    iterations: int = count(30)
    std: float = number(1.0, positive=True)
    """Initial standard deviation of every action."""
    min_std: float = number(0.0)
    momentum: float = number(0.0, high=1.0)
    """Share of the old mean and standard deviation that is kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        sentence = f"elites {self.elites} exceeds samples {self.samples}: choose at most as many elites as samples."
        require(self.elites <= self.samples, sentence)


class CEMSearch:
    """The iterate of a CEM run: mean and standard deviation of the action distribution; `actions` is the mean."""

    def __init__(self, settings: CEMSettings, run: Run) -> None:
        self._settings = settings
        self._run = run
        self.actions: Float[Tensor, "batch time action"] = null_actions(run.problems, run.model.action_dim)
        self._std = torch.full_like(self.actions, settings.std)
        shape = (settings.samples, *self.actions.shape[1:])
        self._noise = RowNoise(run.seeds, "samples", shape, self.actions)

    def step(self, iteration: int) -> None:
        """Draw plans, roll them out, fit the distribution to the best."""
        run, settings = self._run, self._settings
        noise = self._noise.at(iteration)
        plans = torch.addcmul(self.actions.unsqueeze(1), noise, self._std.unsqueeze(1))
        plans[:, 0] = self.actions
        run.project(plans)
        cost = sampled_costs(run.model, run.problems, plans)
        run.spend(settings.samples * run.problems.steps)
        ranked = torch.where(torch.isfinite(cost), cost, torch.inf)
        best = ranked.topk(settings.elites, dim=1, largest=False, sorted=True)
        elites = plans.take_along_dim(best.indices[:, :, None, None], 1)
        run.offer(elites[:, 0], best.values[:, 0])
        keep = per_row(settings.momentum, self.actions)
        self.actions = elites.mean(1) * (1 - keep) + self.actions * keep
        self._std = (elites.std(1, correction=0) * (1 - keep) + self._std * keep).clamp_min_(settings.min_std)


@dataclass(frozen=True)
class CEM:
    """The CEM planner: `CEM(CEMSettings(...)).plan(model, problems, seeds)`."""

    settings: CEMSettings = CEMSettings()

    def plan(self, model: WorldModel, problems: ModelProblems, seeds: Sequence[int], on_step: OnStep | None = None) -> Plans:
        """One plan a problem; UserError when problems, seeds and model do not fit together."""

        def attempt(problems: ModelProblems, seeds: Sequence[int], on_step: OnStep | None) -> Plans:
            run = begin(model, problems, seeds)
            return solve(run, CEMSearch(self.settings, run), self.settings.iterations, on_step)

        with torch.no_grad():
            return with_attempts(self.settings, attempt, problems, seeds, on_step)
