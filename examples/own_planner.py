"""A planner of your own: the best of some random plans, in a few lines, checked by the suite that ours pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from planners import ModelProblems, OnStep, Plans, PlanStatus, Start, check_problems
from planners.testing import PlannerCase, check_planner
from world_models import WorldModel, rollout

DRAWS = 100


class BestOfMany:
    """Draws plans uniformly within the bounds, and keeps the one that ends nearest to the goal in the model."""

    def plan(
        self,
        model: WorldModel,
        problems: ModelProblems,
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        start: Start | None = None,
    ) -> Plans:
        """One plan for each problem; the noise of row i depends on `seeds[i]` alone."""
        check_problems(model, problems, seeds, start)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        shape = (problems.steps, model.action_dim)
        middle = ((problems.low + problems.high) / 2).expand(problems.batch, *shape)
        best, states, cost = middle, *evaluate(model, problems, middle)
        trace, last_cost = [cost], cost
        for draw in range(DRAWS):
            noise = torch.stack([torch.rand(shape, generator=generator, dtype=model.dtype) for generator in generators])
            actions = problems.low + noise * (problems.high - problems.low)
            reached, last_cost = evaluate(model, problems, actions)
            better = last_cost < cost
            better |= ~torch.isfinite(cost) & torch.isfinite(last_cost)
            best = torch.where(better[:, None, None], actions, best)
            states = torch.where(better.reshape(-1, *[1] * (states.ndim - 1)), reached, states)
            cost = torch.where(better, last_cost, cost)
            trace.append(cost)
            if on_step is not None:
                on_step(draw + 1, DRAWS)
        spent = torch.arange(1, len(trace) + 1).mul(problems.steps).expand(problems.batch, -1)
        status = [PlanStatus.COMPLETED if finite else PlanStatus.NON_FINITE for finite in torch.isfinite(cost)]
        return Plans(best, states, cost, last_cost, tuple(status), spent[:, -1], torch.stack(trace, 1), spent)


def evaluate(model: WorldModel, problems: ModelProblems, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """States that follow from actions, and the goal cost of the last."""
    with torch.no_grad():
        states = rollout(model, problems.context, actions)
        return states, problems.goal_cost(states[:, -1], problems.goal)


if __name__ == "__main__":
    check_planner(PlannerCase(lambda changes: BestOfMany(), improves_every_row=False, finds_corners=False, knows_classes=False))
    print("BestOfMany keeps every promise of a planner")
