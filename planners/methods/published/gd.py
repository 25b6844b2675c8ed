"""Gradient descent as published: `GradientSolver` of stable-worldmodel and `GDPlanner` of DINO-WM.

Several plans of a problem descend beside each other, with a step of AdamW or of plain gradient descent and then noise, as the
settings say. The last iterates are rolled out once more, and the best of them is returned, however good an earlier one was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planners.methods.published.base import PublishedPlanner, PublishedSettings
from planners.objectives import final_cost_gradient, sampled_costs
from planners.search.noise import RowNoise
from planners.search.search_run import Rows, Run
from planners.settings import Count, Number, any_positive, choice, count, flag, number, per_row
from planners.updates.optimizers import AdamW, GradientDescent, Optimizer


@dataclass(frozen=True)
class GDSWMSettings(PublishedSettings):
    """Settings of stable-worldmodel's gradient solver, as its `adam.yaml` has them, in standardised action units."""

    iterations: Count = count(30, by_row=True)
    """`n_steps`."""
    samples: int = count(100)
    """`num_samples`: plans that descend beside each other."""
    optimizer: str = choice("adamw", "sgd")
    """`optimizer_cls`, with torch's defaults."""
    lr: Number = number(0.1, positive=True)
    weight_decay: Number = number(0.01)
    """Decay of AdamW, towards the data's mean; torch's default."""
    std: Number = number(1.0)
    """`var_scale`: standard deviation of the noise on all first plans but one."""
    first_std: Number = number(0.0)
    """Standard deviation of the noise on that one."""
    noise: Number = number(0.0)
    """`action_noise`: standard deviation of the noise added after each step."""
    summed: bool = flag(True)
    """The gradient is that of a cost that is summed over the features of a state, as LeWM's is, where goal costs of ours are
    averaged. To AdamW this matters where gradients are as small as its epsilon, to plain descent it is the learning rate."""


@dataclass(frozen=True)
class GDDinoSettings(GDSWMSettings):
    """Settings of DINO-WM's gradient planner, in standardised action units: one plan from random actions, by plain descent."""

    iterations: Count = count(1000, by_row=True)
    """`opt_steps`."""
    samples: int = count(1)
    optimizer: str = choice("sgd", "adamw")
    lr: Number = number(1.0, positive=True)
    first_std: Number = number(1.0)
    """1 is `sample_type: randn`."""
    noise: Number = number(0.003)
    summed: bool = flag(False)


def update_rule(settings: GDSWMSettings, plans: Float[Tensor, "batch samples time action"]) -> Optimizer:
    """The update rule of a run's plans."""
    if settings.optimizer == "adamw":
        return AdamW(plans, settings.lr, settings.weight_decay)
    return GradientDescent(plans, settings.lr)


class PublishedDescent:
    """State of a run: the plans that descend; `actions` is the best of them, by the costs that are known."""

    def __init__(self, settings: GDSWMSettings, run: Run) -> None:
        start = run.start.actions
        self._settings, self._run = settings, run
        shape = (settings.samples, *start.shape[1:])
        self._plans: Float[Tensor, "batch samples time action"] = self._first(settings, run, shape)
        self._noise = RowNoise(run.seeds, "noise", shape, start)
        self._rule = update_rule(settings, self._plans)
        self._iterations = torch.as_tensor(settings.iterations).expand(len(start))
        self.actions: Float[Tensor, "batch time action"] = self._plans[:, 0]

    @staticmethod
    def _first(settings: GDSWMSettings, run: Run, shape: tuple[int, ...]) -> Float[Tensor, "batch samples time action"]:
        start = run.start.actions
        spread = start.new_ones(len(start), settings.samples, 1, 1) * per_row(settings.std, start.unsqueeze(1))
        spread[:, :1] = per_row(settings.first_std, start.unsqueeze(1))
        plans = start.unsqueeze(1) + RowNoise(run.seeds, "first plans", shape, start).at(0) * spread
        run.project(plans)
        return plans

    def step(self, iteration: int) -> None:
        """Take one step of every plan; after a row's last one, its plans are rolled out to find the best."""
        run, samples, device = self._run, self._plans.shape[1], self._plans.device
        repeated = torch.arange(len(self._plans), device=device).repeat_interleave(samples)
        found = final_cost_gradient(run.model, run.problems.rows(repeated), self._plans.flatten(0, 1))
        best = self._record(self._plans, found[0].view(-1, samples), None)
        features = math.prod(run.model.state_shape) if self._settings.summed else 1
        self._rule.update(self._plans, found[1].view_as(self._plans) * features)
        if any_positive(self._settings.noise):
            self._plans += self._noise.at(iteration) * per_row(self._settings.noise, self._plans)
        run.project(self._plans)
        last = torch.nonzero(self._iterations <= run.clock + 1).flatten()
        if len(last):
            plans = self._plans[last.to(device)]
            best[last.to(device)] = self._record(plans, sampled_costs(run.model, run.problems_of(last), plans), last)
        self.actions = _taken(self._plans, best)

    def _record(
        self, plans: Float[Tensor, "rows samples time action"], cost: Float[Tensor, "rows samples"], rows: Rows | None
    ) -> Tensor:
        """Record the best of some rolled-out plans per row, and count them; returns its index."""
        self._run.spend(plans.shape[1] * self._run.problems.steps, rows)
        ranked = torch.where(torch.isfinite(cost), cost, torch.inf)
        lowest, best = ranked.min(1)
        self._run.record_rounded(_taken(plans, best), lowest, rows)
        return best

    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""
        device_rows = rows.to(self._plans.device)
        self._plans, self.actions = self._plans[device_rows], self.actions[device_rows]
        self._iterations, self._settings = self._iterations[rows], self._settings.rows(rows)
        self._rule.keep(rows)
        self._noise.keep(rows)


def _taken(plans: Float[Tensor, "rows samples time action"], index: Tensor) -> Float[Tensor, "rows time action"]:
    return plans[torch.arange(len(plans), device=plans.device), index]


@dataclass(frozen=True)
class GDSWM(PublishedPlanner[GDSWMSettings]):
    """The gradient solver of stable-worldmodel."""

    settings: GDSWMSettings = GDSWMSettings()

    def search(self, settings: GDSWMSettings, run: Run) -> PublishedDescent:
        """Search over the actions by gradient descent."""
        return PublishedDescent(settings, run)


@dataclass(frozen=True)
class GDDino(PublishedPlanner[GDDinoSettings]):
    """The gradient planner of DINO-WM."""

    settings: GDDinoSettings = GDDinoSettings()

    def search(self, settings: GDDinoSettings, run: Run) -> PublishedDescent:
        """Search over the actions by gradient descent."""
        return PublishedDescent(settings, run)
