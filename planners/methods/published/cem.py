"""CEM as published: `CEMSolver` of stable-worldmodel and `CEMPlanner` of DINO-WM, which compute the same.

Draws have no bounds; what both call variance multiplies the noise, and is a standard deviation; elites are refitted without
memory; the mean of the last elites is returned, though no model has rolled it out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planners.methods.cem import check_elites
from planners.methods.published.base import PublishedPlanner, PublishedSettings
from planners.search.noise import RowNoise
from planners.search.search_run import Rows, Run
from planners.settings import Count, Number, count, number, per_row
from planners.updates.sampling import elites_of, evaluate_plans


@dataclass(frozen=True)
class CEMSWMSettings(PublishedSettings):
    """Settings of stable-worldmodel's CEM, in standardised action units."""

    iterations: Count = count(30, by_row=True)
    """`n_steps`."""
    samples: int = count(300)
    """`num_samples`; the first one is the mean itself."""
    elites: int = count(30, low=2)
    """`topk`."""
    std: Number = number(1.0, positive=True)
    """`var_scale`: the first standard deviation."""

    def check(self) -> None:
        """Raise UserError for more elites than samples."""
        super().check()
        check_elites(self.elites, self.samples)


@dataclass(frozen=True)
class CEMDinoSettings(CEMSWMSettings):
    """Settings of DINO-WM's CEM, whose defaults and computation are those of stable-worldmodel's.

    Upstream asks the simulator after every iteration and stops if all problems are solved; planners of ours never ask it.
    """


def candidates(
    mean: Float[Tensor, "batch time action"],
    std: Float[Tensor, "batch time action"],
    noise: Float[Tensor, "batch samples time action"],
) -> Float[Tensor, "batch samples time action"]:
    """Plans around a mean, the first of which is the mean."""
    plans = noise * std.unsqueeze(1) + mean.unsqueeze(1)
    plans[:, 0] = mean
    return plans


def refitted(
    plans: Float[Tensor, "batch samples time action"], cost: Float[Tensor, "batch samples"], elites: int
) -> tuple[Float[Tensor, "batch time action"], Float[Tensor, "batch time action"]]:
    """Mean of the best plans, and their standard deviation with Bessel's correction."""
    best = elites_of(plans, cost, elites)
    return best.mean(1), best.std(1)


class PublishedCEMSearch:
    """State of a run: mean and standard deviation of the draws; `actions` is the mean."""

    def __init__(self, settings: CEMSWMSettings, run: Run) -> None:
        self._run, self._elites = run, settings.elites
        self.actions: Float[Tensor, "batch time action"] = run.start.actions.clone()
        self._std = torch.ones_like(self.actions) * per_row(settings.std, self.actions)
        shape = (settings.samples, *self.actions.shape[1:])
        self._noise = RowNoise(run.seeds, "samples", shape, self.actions)

    def step(self, iteration: int) -> None:
        """Draw plans, roll them out, and fit the distribution to the best."""
        plans = candidates(self.actions, self._std, self._noise.at(iteration))
        self.actions, self._std = refitted(plans, evaluate_plans(self._run, plans), self._elites)

    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""
        device_rows = rows.to(self.actions.device)
        self.actions, self._std = self.actions[device_rows], self._std[device_rows]
        self._noise.keep(rows)


@dataclass(frozen=True)
class CEMSWM(PublishedPlanner[CEMSWMSettings]):
    """The CEM of stable-worldmodel, with which LeWM is evaluated."""

    settings: CEMSWMSettings = CEMSWMSettings()

    def search(self, settings: CEMSWMSettings, run: Run) -> PublishedCEMSearch:
        """Search over the mean and standard deviation of the plans."""
        return PublishedCEMSearch(settings, run)


@dataclass(frozen=True)
class CEMDino(PublishedPlanner[CEMDinoSettings]):
    """The CEM of DINO-WM."""

    settings: CEMDinoSettings = CEMDinoSettings()

    def search(self, settings: CEMDinoSettings, run: Run) -> PublishedCEMSearch:
        """Search over the mean and standard deviation of the plans."""
        return PublishedCEMSearch(settings, run)
