"""Plans that nothing searched for: null actions, random ones, and those that were recorded. Tables show them as floors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planners.base import ModelProblems, OnStep, Plans, PlanStatus, Start
from planners.classes import null_actions
from planners.methods.random_shooting import drawn_plans
from planners.search.noise import RowNoise
from planners.search.search_run import check_problems
from planners.settings import Settings
from world_models.base import WorldModel, rollout
from world_models.errors import UserError


@dataclass(frozen=True)
class BaselineSettings(Settings):
    """A plan that nothing searches for has no settings."""


@dataclass(frozen=True)
class Baseline(ABC):
    """A planner whose actions nothing searches for; subclasses say what they are."""

    settings: BaselineSettings = BaselineSettings()

    @abstractmethod
    def actions(self, problems: ModelProblems, seeds: Sequence[int]) -> Float[Tensor, "batch time action"]:
        """The actions of each problem."""

    def plan(
        self,
        model: WorldModel,
        problems: ModelProblems,
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        start: Start | None = None,
    ) -> Plans:
        """The actions, rolled out once in the model. Raises UserError for problems that do not fit, or lack what is needed."""
        check_problems(model, problems, seeds, start)
        actions = self.actions(problems, seeds)
        with torch.no_grad():
            states = rollout(model, problems.context, actions)
            cost = problems.goal_cost(states[:, -1], problems.goal)
        steps = torch.full((problems.batch,), problems.steps, dtype=torch.int64)
        sound = (torch.isfinite(cost) & torch.isfinite(actions).flatten(1).all(1)).tolist()
        return Plans(
            actions=actions,
            states=states,
            cost=cost,
            last_cost=cost,
            status=tuple(PlanStatus.COMPLETED if row else PlanStatus.NON_FINITE for row in sound),
            evaluations=steps,
            trace=cost[:, None],
            spent=steps[:, None],
        )


class NullActions(Baseline):
    """The planner that does nothing: zero actions, or the first class; zero is moved into the bounds where it lies outside."""

    def actions(self, problems: ModelProblems, seeds: Sequence[int]) -> Float[Tensor, "batch time action"]:
        """Null actions."""
        return null_actions(problems)


class RandomActions(Baseline):
    """The planner that acts at random: uniformly within bounds or over classes, else from a standard normal distribution."""

    def actions(self, problems: ModelProblems, seeds: Sequence[int]) -> Float[Tensor, "batch time action"]:
        """One draw per problem."""
        centre = null_actions(problems)
        noise = RowNoise(seeds, "random actions", (1, *centre.shape[1:]), centre).at(0)
        return drawn_plans(problems, noise, centre, 1.0)[:, 0]


class ReferenceActions(Baseline):
    """The planner that repeats the actions by which a problem's goal was once reached: those recorded, or the task's own.

    In the model it shows the open-loop prediction error: how far from the goal the model believes that these actions lead.
    """

    def actions(self, problems: ModelProblems, seeds: Sequence[int]) -> Float[Tensor, "batch time action"]:
        """The reference actions. Raises UserError for problems without any."""
        if problems.reference is None:
            raise UserError(
                "the problems have no reference actions to repeat: give them (ModelProblems.reference), or take another "
                "planner."
            )
        return problems.reference
