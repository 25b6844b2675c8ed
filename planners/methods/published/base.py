"""Base of the published solvers: standardised actions without bounds, and plans that are what the search ends with."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from planners.base import ModelProblems, OnStep, Plans, Start
from planners.methods.published.units import ActionUnits, StandardActions
from planners.search.search_planner import SearchPlanner, SearchSettings
from planners.search.search_run import check_problems
from planners.settings import axes, choice
from world_models.base import Context, WorldModel


@dataclass(frozen=True)
class PublishedSettings(SearchSettings):
    """Settings of every published solver, in standardised action units, besides those of every planner."""

    precision: str = choice("highest", "high", "medium")
    """As for every planner; the published solvers round nothing."""
    action_mean: str = axes("data")
    """Mean of the data's actions by axis, at which the search begins (`planners.settings.axes`)."""
    action_std: str = axes("data", positive=True)
    """Standard deviation of the data's actions by axis."""
    bounds: str = choice("none", "task")
    """`none`: plans may leave the task's bounds, as published; the model sees them as they are, and the simulator clips what is
    executed. `task`: plans are clamped to the bounds, as ours are."""
    keep: str = choice("returned", "best")
    """The plan that is kept: the one that the solver returns, as published, or the `best` that it rolled out, as ours keep."""

    @property
    def keeps_last(self) -> bool:
        """Whether the returned plan is kept."""
        return self.keep == "returned"


S = TypeVar("S", bound=PublishedSettings)


@dataclass(frozen=True)
class PublishedPlanner(SearchPlanner[S], ABC):
    """A published solver: its search sees standardised actions, and bounds only if they are asked for.

    Where actions are classes, the solvers know nothing of it: they plan numbers, which are rounded before they are executed.
    """

    def plan(
        self,
        model: WorldModel,
        problems: ModelProblems,
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        start: Start | None = None,
    ) -> Plans:
        """One plan per problem, in the task's units; the search begins at the data's mean if no start is given.

        Raises UserError if problems, seeds, start, settings and model do not fit together, PlannerMemoryError out of memory.
        """
        check_problems(model, problems, seeds, start)
        units = ActionUnits.of(model, problems, self.settings.action_mean, self.settings.action_std)
        within = self.settings.bounds == "task"
        standard = replace(
            problems,
            context=Context(problems.context.states, units.standard(problems.context.actions)),
            low=units.standard(problems.low) if within else torch.full_like(problems.low, -torch.inf),
            high=units.standard(problems.high) if within else torch.full_like(problems.high, torch.inf),
            classes=None,
            reference=None,
        )
        begin = None if start is None else Start(units.standard(start.actions), start.states)
        plans = super().plan(StandardActions(model, units), standard, seeds, on_step, begin)
        actions = units.original(plans.actions)
        return replace(plans, actions=actions.clamp(problems.low, problems.high) if within else actions)
