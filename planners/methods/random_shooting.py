"""Random shooting: the best of many random plans. The baseline that every other planner has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from planners.base import ModelProblems
from planners.classes import Classes
from planners.search.noise import RowNoise
from planners.search.search_planner import SearchPlanner, SearchSettings
from planners.search.search_run import Rows, Run
from planners.settings import Count, Number, count, number, per_row
from planners.updates.sampling import evaluate_plans

_FAR = 20.0
"""Bounds further apart than this many `std` are not drawn from uniformly: nearly all draws would be absurdly strong."""


@dataclass(frozen=True)
class RandomShootingSettings(SearchSettings):
    """Random shooting's hyperparameters, in normalised action units."""

    draws_classes: ClassVar[bool] = True
    iterations: Count = count(30, by_row=True)
    samples: int = count(300)
    """Plans drawn per iteration."""
    std: Number = number(1.0, positive=True)
    """Standard deviation of actions whose bounds are infinite or more than 20 standard deviations apart; other actions are
    drawn uniformly between their bounds."""


class RandomShootingSearch:
    """State of a random-shooting run: the best plan so far, initially the start's."""

    def __init__(self, settings: RandomShootingSettings, run: Run) -> None:
        self._settings = settings
        self._run = run
        self._centre = run.start.actions.clone()
        shape = (settings.samples, *self._centre.shape[1:])
        self._noise = RowNoise(run.seeds, "samples", shape, self._centre)

    @property
    def actions(self) -> Float[Tensor, "batch time action"]:
        """The best plans so far."""
        return self._run.best()

    def step(self, iteration: int) -> None:
        """Draw plans and roll them out; the run keeps the best."""
        run, noise = self._run, self._noise.at(iteration)
        evaluate_plans(run, drawn_plans(run.problems, noise, self._centre, self._settings.std))

    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""
        self._centre = self._centre[rows.to(self._centre.device)]
        self._noise.keep(rows)
        self._settings = self._settings.rows(rows)


def drawn_plans(
    problems: ModelProblems,
    noise: Float[Tensor, "batch samples time action"],
    centre: Float[Tensor, "batch time action"],
    std: Number,
) -> Float[Tensor, "batch samples time action"]:
    """Random plans from standard normal noise: uniform over classes, or as `spread` draws them."""
    classes = Classes.of(problems)
    if classes is not None:
        return classes.drawn(centre, noise, 1.0)
    return spread(noise, centre, problems.low, problems.high, std)


def spread(
    noise: Float[Tensor, "batch samples time action"],
    centre: Float[Tensor, "batch time action"],
    low: Float[Tensor, " action"],
    high: Float[Tensor, " action"],
    std: Number,
) -> Float[Tensor, "batch samples time action"]:
    """Plans from standard normal noise: uniform between the bounds, or centre + std * noise (which may leave them) where the
    bounds are infinite or more than 20 `std` apart."""
    std = per_row(std, noise)
    normal = centre.unsqueeze(1) + std * noise
    uniform = torch.lerp(low, high, torch.special.ndtr(noise))
    return torch.where(high - low <= _FAR * std, uniform, normal)


@dataclass(frozen=True)
class RandomShooting(SearchPlanner[RandomShootingSettings]):
    """The random-shooting planner: `RandomShooting(RandomShootingSettings(...)).plan(model, problems, seeds)`."""

    settings: RandomShootingSettings = RandomShootingSettings()

    def search(self, settings: RandomShootingSettings, run: Run) -> RandomShootingSearch:
        """Search by independent draws."""
        return RandomShootingSearch(settings, run)
