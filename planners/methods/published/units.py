"""Standardised actions: what published solvers search in, where a world model of ours takes actions in its task's units."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planners.base import ModelProblems
from planners.settings import DATA, MODEL
from world_models.base import (
    Context,
    LiftedModel,
    Pullback,
    StandardisedModel,
    WorldModel,
    rollout,
    step_pullback,
)
from world_models.errors import require
from world_models.models.wrapped import Wrapped


@dataclass(frozen=True)
class ActionUnits:
    """Mean and deviation by which the actions of a model step are standardised."""

    mean: Float[Tensor, " action"]
    std: Float[Tensor, " action"]

    @staticmethod
    def of(model: WorldModel, problems: ModelProblems, mean: str, std: str) -> ActionUnits:
        """Units from settings by axis, as `planners.settings.axes` has them; a model's own are 0 and 1 if it has none.

        Raises UserError for a number of axes that does not divide the model's actions.
        """
        unknown = torch.zeros(1), torch.ones(1)
        own = model.action_statistics() if isinstance(model, StandardisedModel) else unknown
        data = problems.action_statistics or (None, None)
        return ActionUnits(
            _by_action(model, "action_mean", mean, own[0], data[0]), _by_action(model, "action_std", std, own[1], data[1])
        )

    def standard(self, actions: Float[Tensor, "*batch action"]) -> Float[Tensor, "*batch action"]:
        """Actions of the task in these units."""
        return (actions - self.mean) / self.std

    def original(self, standard: Float[Tensor, "*batch action"]) -> Float[Tensor, "*batch action"]:
        """Standardised actions in the task's units."""
        return standard * self.std + self.mean


def _by_action(
    model: WorldModel, name: str, text: str, own: Float[Tensor, " axis"], data: Float[Tensor, " axis"] | None
) -> Float[Tensor, " action"]:
    numbers = [float(word) for word in text.split() if word not in (MODEL, DATA)]
    if text.startswith(DATA) and data is not None:
        by_axis = data
    elif not numbers:
        by_axis = own
    else:
        by_axis = torch.tensor(numbers, dtype=torch.float64)
    size, axes = model.action_dim, len(by_axis)
    require(size % axes == 0, f"{name} {text!r} has {axes} numbers for actions of size {size}: give one per axis.")
    return by_axis.to(device=model.device, dtype=model.dtype).repeat(size // axes)


@dataclass(frozen=True)
class StandardActions(Wrapped):
    """A world model that takes standardised actions, before one that takes the task's."""

    units: ActionUnits

    def step(self, states: Float[Tensor, "n h *state"], actions: Float[Tensor, "n h action"]) -> Float[Tensor, "n *state"]:
        """The other model's next states."""
        return self.world.step(states, self.units.original(actions))

    def rollout(self, context: Context, actions: Float[Tensor, "batch time action"]) -> Float[Tensor, "batch time *state"]:
        """The other model's rollout."""
        before = Context(context.states, self.units.original(context.actions))
        return rollout(self.world, before, self.units.original(actions))

    def step_pullback(
        self, states: Float[Tensor, "n h *state"], actions: Float[Tensor, "n h action"]
    ) -> tuple[Float[Tensor, "n *state"], Pullback]:
        """The other model's next states and their derivative, with respect to standardised actions."""
        following, pullback = step_pullback(self.world, states, self.units.original(actions))
        return following, lambda cotangent: pullback(cotangent) * self.units.std

    def lifted_gradients(
        self,
        context: Context,
        states: Float[Tensor, "batch virtual *state"],
        actions: Float[Tensor, "batch time action"],
        goals: Float[Tensor, "batch *state"],
        goal_weight: Float[Tensor, "batch time"],
        feature_weights: Float[Tensor, "*state"],
    ) -> tuple[Float[Tensor, "batch virtual *state"], Float[Tensor, "batch time action"]] | None:
        """The other model's, with respect to standardised actions; None if it has none."""
        if not isinstance(self.world, LiftedModel):
            return None
        before = Context(context.states, self.units.original(context.actions))
        original = self.units.original(actions)
        found = self.world.lifted_gradients(before, states, original, goals, goal_weight, feature_weights)
        return None if found is None else (found[0], found[1] * self.units.std)
