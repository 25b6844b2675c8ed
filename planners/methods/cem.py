"""CEM: the cross-entropy method over action sequences (Rubinstein 1999), batched over problems.

Where actions are classes, the mean holds the share of each class in each step: plans are drawn by these shares, and the elites'
frequencies are the next ones.
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
from planners.updates.refiner import Refiner
from planners.updates.sampling import drawn, elites_of, evaluate_plans, first_mean, middle
from world_models.errors import require


@dataclass(frozen=True)
class CEMSettings(SearchSettings):
    """CEM's hyperparameters, in normalised action units."""

    draws_classes: ClassVar[bool] = True
    iterations: Count = count(30, by_row=True)
    samples: int = count(300)
    """Plans drawn per iteration; one of them is the mean itself."""
    elites: int = count(30)
    std: Number = number(1.0, positive=True)
    """Initial standard deviation of every action. Of classes, how far the first shares are from the start's actions."""
    min_std: Number = number(0.0)
    """Least standard deviation. Of classes, the share that is drawn uniformly, at least 0.02."""
    momentum: Number = number(0.0, high=1.0)
    """Weight of the old mean and standard deviation in the new ones."""

    def check(self) -> None:
        """Raise UserError for more elites than samples."""
        super().check()
        check_elites(self.elites, self.samples)


def check_elites(elites: int, samples: int, elites_name: str = "elites", samples_name: str = "samples") -> None:
    """Raise UserError for more elites than samples."""
    sentence = f"{elites_name} {elites} exceeds {samples_name} {samples}: choose at most as many elites as samples."
    require(elites <= samples, sentence)


class CEMSearch:
    """State of a CEM run: mean and standard deviation of the action distribution; `actions` is the mean."""

    def __init__(self, settings: CEMSettings, run: Run) -> None:
        self._run = run
        self.actions: Float[Tensor, "batch time action"] = first_mean(run, settings.std)
        self._settings = settings.to(self.actions.device)
        self._std = torch.ones_like(self.actions) * per_row(settings.std, self.actions)
        shape = (settings.samples, *self.actions.shape[1:])
        self._noise = RowNoise(run.seeds, "samples", shape, self.actions)

    def step(self, iteration: int) -> None:
        """Draw plans, roll them out, and fit the distribution to the best."""
        settings = self._settings
        plans = drawn(self.actions, self._std, self._noise.at(iteration), 0.0, self._run.classes, settings.min_std)
        plans[:, 0] = middle(self._run, self.actions)
        elites = elites_of(plans, evaluate_plans(self._run, plans), settings.elites)
        self.actions, self._std = refit(self.actions, self._std, elites, settings.momentum, settings.min_std)

    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""
        device_rows = rows.to(self.actions.device)
        self.actions, self._std = self.actions[device_rows], self._std[device_rows]
        self._noise.keep(rows)
        self._settings = self._settings.rows(rows).to(self.actions.device)


def refit(
    mean: Float[Tensor, "batch time action"],
    std: Float[Tensor, "batch time action"],
    elites: Float[Tensor, "batch elites time action"],
    momentum: Number,
    min_std: Number,
) -> tuple[Float[Tensor, "batch time action"], Float[Tensor, "batch time action"]]:
    """New mean and standard deviation: those of the elites, mixed with the old ones by weight `momentum`."""
    keep, least = per_row(momentum, mean), per_row(min_std, mean)
    new_std = elites.std(1, correction=0) * (1 - keep) + std * keep
    return elites.mean(1) * (1 - keep) + mean * keep, new_std.clamp_min(least)


class Resampling(Refiner):
    """Refiner by the cross-entropy method: the actions are the mean, and each step is one round of sampling."""

    def __init__(self, run: Run, samples: int, elites: int, std: Number) -> None:
        super().__init__(run)
        like = run.start.actions
        self._elites = elites
        self._first_std = torch.ones_like(like) * per_row(std, like)
        self._std = self._first_std.clone()
        self._rounds = torch.zeros(len(like), dtype=torch.int64)
        """Rounds of each row over all its syncs, so that no two rounds share noise."""
        self._noise = RowNoise(run.seeds, "sync", (samples, *like.shape[1:]), like)

    def begin(self, rows: Rows | None = None) -> None:
        """Reset the standard deviation to its initial value."""
        device_rows = slice(None) if rows is None else rows.to(self._std.device)
        self._std[device_rows] = self._first_std[device_rows]

    def step(self, actions: Float[Tensor, "batch time action"], rows: Rows | None = None) -> None:
        """Draw plans around the actions, roll them out, and fit mean and standard deviation to the best."""
        device_rows = slice(None) if rows is None else rows.to(actions.device)
        mean, std = actions[device_rows], self._std[device_rows]
        plans = drawn(mean, std, self._noise.at(self._rounds, rows), classes=self._run.classes)
        plans[:, 0] = middle(self._run, mean)
        elites = elites_of(plans, evaluate_plans(self._run, plans, rows), self._elites)
        actions[device_rows], self._std[device_rows] = refit(mean, std, elites, 0.0, 0.0)
        self._rounds[slice(None) if rows is None else rows] += 1

    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""
        device_rows = rows.to(self._std.device)
        self._first_std, self._std, self._rounds = self._first_std[device_rows], self._std[device_rows], self._rounds[rows]
        self._noise.keep(rows)

    def join(self, others: Resampling) -> None:
        """Append the standard deviations, round counts and noise of the rows of `others`."""
        self._first_std, self._std = torch.cat([self._first_std, others._first_std]), torch.cat([self._std, others._std])
        self._rounds = torch.cat([self._rounds, others._rounds])
        self._noise.join(others._noise)


@dataclass(frozen=True)
class CEM(SearchPlanner[CEMSettings]):
    """The CEM planner: `CEM(CEMSettings(...)).plan(model, problems, seeds)`."""

    settings: CEMSettings = CEMSettings()

    def search(self, settings: CEMSettings, run: Run) -> CEMSearch:
        """Search over the mean and standard deviation of the plans."""
        return CEMSearch(settings, run)
