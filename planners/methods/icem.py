"""iCEM: the cross-entropy method made sample-efficient (Pinneri et al. 2020, arXiv 2008.06389), batched over problems.

It adds to CEM: noise that is coloured over time, elites that stay candidates in the next iteration, a shrinking number of
samples, and the mean as a candidate of the last iteration. Where actions are classes, noise that is coloured over time makes
them stick: neighbouring steps draw the same class more often, each by its own shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from planners.methods.cem import check_elites, refit
from planners.search.noise import RowNoise
from planners.search.search_planner import SearchPlanner, SearchSettings
from planners.search.search_run import Rows, Run
from planners.settings import Count, Number, count, number, per_row
from planners.updates.sampling import drawn, evaluate_plans, first_mean, middle, ranked_elites


@dataclass(frozen=True)
class ICEMSettings(SearchSettings):
    """iCEM's hyperparameters, in normalised action units."""

    draws_classes: ClassVar[bool] = True
    iterations: Count = count(30, by_row=True)
    samples: int = count(300)
    """Plans drawn in the first iteration."""
    elites: int = count(30)
    shrink: float = number(1.05, low=1.0, by_row=False)
    """Iteration i draws samples / shrink^i plans, but at least twice the number of elites (and never more than `samples`)."""
    std: Number = number(1.0, positive=True)
    """Initial standard deviation of every action. Of classes, how far the first shares are from the start's actions."""
    min_std: Number = number(0.0)
    """Least standard deviation. Of classes, the share that is drawn uniformly, at least 0.02."""
    noise_exponent: Number = number(1.0)
    """Noise power falls with frequency as f^-exponent: 0 is white, 2 a random walk. Of classes, the higher, the longer they
    stick; where the environment asks for fast changes, as balancing does, 0 is best."""
    kept_elites: Number = number(0.3, high=1.0)
    """Fraction of the elites that stay candidates in the next iteration; they are not rolled out again."""
    momentum: Number = number(0.1, high=1.0)
    """Weight of the old mean and standard deviation in the new ones."""

    def check(self) -> None:
        """Raise UserError for more elites than samples."""
        super().check()
        check_elites(self.elites, self.samples)

    def samples_at(self, iteration: int) -> int:
        """Number of plans drawn in an iteration."""
        return max(int(self.samples * self.shrink**-iteration), min(2 * self.elites, self.samples))


class ICEMSearch:
    """State of an iCEM run: the action distribution and the kept elites; `actions` is the mean."""

    def __init__(self, settings: ICEMSettings, run: Run) -> None:
        self._run = run
        self.actions: Float[Tensor, "batch time action"] = first_mean(run, settings.std)
        self._settings = settings.to(self.actions.device)
        self._std = torch.ones_like(self.actions) * per_row(self._settings.std, self.actions)
        self._elites = self.actions.new_empty(len(self.actions), 0, *self.actions.shape[1:])
        self._elite_costs = self._elites.new_empty(self._elites.shape[:2])
        # Iterations with fewer samples use the first entries of this shape, so that a row's noise never depends on the batch.
        self._noise = RowNoise(run.seeds, "samples", (settings.samples, *self.actions.shape[1:]), self.actions)

    def step(self, iteration: int) -> None:
        """Draw plans, roll them out, and fit the distribution to the best of them and of the kept elites."""
        settings = self._settings
        white = self._noise.at(iteration)[:, : settings.samples_at(iteration)]
        classes = self._run.classes
        plans = drawn(self.actions, self._std, white, settings.noise_exponent, classes, settings.min_std)
        plans[:, 0] = torch.where(self._last(iteration), middle(self._run, self.actions), plans[:, 0])
        cost = torch.cat([self._elite_costs, evaluate_plans(self._run, plans)], 1)
        elites, elite_costs = ranked_elites(torch.cat([self._elites, plans], 1), cost, settings.elites)
        self.actions, self._std = refit(self.actions, self._std, elites, settings.momentum, settings.min_std)
        self._elites, self._elite_costs = self._kept(elites, elite_costs)

    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""
        device_rows = rows.to(self.actions.device)
        self.actions, self._std = self.actions[device_rows], self._std[device_rows]
        self._elites, self._elite_costs = self._elites[device_rows], self._elite_costs[device_rows]
        self._noise.keep(rows)
        self._settings = self._settings.rows(rows).to(self.actions.device)

    def _last(self, iteration: int) -> Tensor:
        """Whether this is the last iteration, row by row."""
        ends = torch.as_tensor(self._settings.iterations, device=self.actions.device)
        return (ends == iteration + 1).view(-1, 1, 1)

    def _kept(
        self, elites: Float[Tensor, "batch elites time action"], costs: Float[Tensor, "batch elites"]
    ) -> tuple[Float[Tensor, "batch kept time action"], Float[Tensor, "batch kept"]]:
        """The elites that stay, with their costs; rows that keep fewer than others give the surplus infinite cost."""
        share = torch.as_tensor(self._settings.kept_elites, device=costs.device)
        counts = (share * self._settings.elites).round().view(-1, 1)
        rank = torch.arange(costs.shape[1], device=costs.device)
        return elites, torch.where(rank < counts, costs, torch.inf)


@dataclass(frozen=True)
class ICEM(SearchPlanner[ICEMSettings]):
    """The iCEM planner: `ICEM(ICEMSettings(...)).plan(model, problems, seeds)`."""

    settings: ICEMSettings = ICEMSettings()

    def search(self, settings: ICEMSettings, run: Run) -> ICEMSearch:
        """Search over the mean and standard deviation of the plans, with kept elites."""
        return ICEMSearch(settings, run)
