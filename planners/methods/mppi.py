"""MPPI: model predictive path integral control (Williams et al. 2017, arXiv 1707.02342) as a planner, batched over problems.

Where actions are classes, the mean holds the share of each class in each step: plans are drawn by these shares, and the plans'
weighted frequencies are the next ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from planners.search.noise import RowNoise
from planners.search.search_planner import SearchPlanner, SearchSettings
from planners.search.search_run import Rows, Run
from planners.settings import Count, Number, count, number, per_row
from planners.updates.sampling import drawn, evaluate_plans, first_mean, middle


@dataclass(frozen=True)
class MPPISettings(SearchSettings):
    """MPPI's hyperparameters, in normalised action units."""

    draws_classes: ClassVar[bool] = True
    iterations: Count = count(30, by_row=True)
    samples: int = count(300)
    """Plans drawn per iteration; one of them is the mean itself."""
    temperature: Number = number(0.05, positive=True)
    """Temperature relative to the gap between an iteration's median and best cost: small values follow the best plan, large
    ones average over all."""
    std: Number = number(1.0, positive=True)
    """Standard deviation of every action in the first iteration. Of classes, how far the first shares are from the start's
    actions."""
    std_decay: Number = number(0.85, high=1.0, positive=True)
    """Factor on the standard deviation after each iteration: below 1 the plan converges. Shares of classes do without."""
    noise_exponent: Number = number(1.0)
    """Noise power falls with frequency as f^-exponent: 0 is white, 2 a random walk. Classes are drawn independently."""


class MPPISearch:
    """State of an MPPI run: the mean plan."""

    def __init__(self, settings: MPPISettings, run: Run) -> None:
        self._run = run
        self.actions: Float[Tensor, "batch time action"] = first_mean(run, settings.std)
        self._settings = settings.to(self.actions.device)
        self._noise = RowNoise(run.seeds, "samples", (settings.samples, *self.actions.shape[1:]), self.actions)

    def step(self, iteration: int) -> None:
        """Draw plans, roll them out, and take their mean, weighted by cost."""
        settings = self._settings
        std = torch.ones_like(self.actions) * per_row(settings.std * settings.std_decay**iteration, self.actions)
        # Classes that stick for a while, as coloured noise makes them, kept far fewer poles upright than independent ones.
        classes = self._run.classes
        plans = drawn(self.actions, std, self._noise.at(iteration), 0.0 if classes else settings.noise_exponent, classes)
        plans[:, 0] = middle(self._run, self.actions)
        weights = path_weights(evaluate_plans(self._run, plans), per_row(settings.temperature, plans[:, :, 0, 0]))
        # Not a matrix product: it rounds the weights, which then do not sum to one, and a mean of plans at a bound would lie
        # beyond it.
        self.actions = (weights[:, :, None, None] * plans).sum(1)
        self._run.project(self.actions)

    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""
        self.actions = self.actions[rows.to(self.actions.device)]
        self._noise.keep(rows)
        self._settings = self._settings.rows(rows).to(self.actions.device)


def path_weights(
    cost: Float[Tensor, "batch samples"], temperature: Float[Tensor, "batch 1"] | float
) -> Float[Tensor, "batch samples"]:
    """w_i proportional to exp(-(c_i - min c) / (temperature * (median c - min c))), summing to 1 in each row.

    Costs differ by orders of magnitude between tasks and between the start and end of a run. Measured from the best in units
    of the median's distance to it, they give weights that do not change when all costs are shifted or scaled. Infinite costs
    get weight 0 and are left out of the median; a row without a finite cost weighs all plans equally.
    """
    ranked = cost.sort(1).values
    finite = torch.isfinite(cost)
    middle = (finite.sum(1, keepdim=True) - 1).clamp_min(0) // 2
    best, median = ranked[:, :1], ranked.gather(1, middle)
    spread = ((median - best) * temperature).clamp_min(torch.finfo(cost.dtype).tiny)
    exponent = torch.where(finite, -(cost - best) / spread, -torch.inf)
    return torch.where(finite.any(1, keepdim=True), exponent, 0.0).softmax(1)


@dataclass(frozen=True)
class MPPI(SearchPlanner[MPPISettings]):
    """The MPPI planner: `MPPI(MPPISettings(...)).plan(model, problems, seeds)`."""

    settings: MPPISettings = MPPISettings()

    def search(self, settings: MPPISettings, run: Run) -> MPPISearch:
        """Search over the mean plan."""
        return MPPISearch(settings, run)
