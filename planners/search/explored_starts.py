"""Explored starts: a tree of model rollouts looks for a way to the goal before any gradient is followed.

Descent on the goal cost gets stuck in the first dead end; a tree of rollouts does not. The branches that end nearest the goal
are extended to the full plan length and serve as initial plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from planners.base import ModelProblems
from planners.classes import Classes
from planners.search.initialisers import null_actions
from planners.search.noise import RowNoise
from planners.search.rollout_tree import ExploreSettings, Tree, take
from world_models.base import Context, WorldModel, rollout
from world_models.errors import require

__all__ = ["Branches", "ExploreSettings", "explore"]

_DIVERSITY_PENALTY = 20.0
"""Log of the factor on the cost of a plan that coincides with one already selected."""


@dataclass(frozen=True)
class Branches:
    """Plans found by a tree, best first, from which a search may start."""

    actions: Float[Tensor, "batch branches time action"]
    states: Float[Tensor, "batch branches time *state"]
    """The model's rollout s_1..s_T of `actions`."""
    cost: Float[Tensor, "batch branches"]
    """Goal cost of the last state; infinite where the rollout is not finite."""
    evaluations: int
    """Model steps spent per problem."""


def explore(
    model: WorldModel,
    problems: ModelProblems,
    seeds: Sequence[int],
    branches: int = 1,
    settings: ExploreSettings | None = None,
) -> Branches:
    """Full-length plans that end near their goals, `branches` different ones per problem, best first.

    A branch shorter than the plan is completed in three ways: waiting at the end, waiting at the start (null actions), or
    following the same path at a slower pace; the one that ends nearest the goal counts. Row i's draws depend on `seeds[i]`
    only. Raises UserError for `branches` < 1 or a number of seeds that does not fit the problems.
    """
    tree_settings = settings or ExploreSettings()
    require(branches >= 1, f"branches {branches!r} is not a valid count: give a whole number >= 1.")
    require(len(seeds) == problems.batch, f"{len(seeds)} seeds for {problems.batch} problems: give one per problem.")
    with torch.no_grad():
        tree = Tree(model, problems, tree_settings)
        draws = RowNoise(seeds, "explore draws", (2, tree.capacity), problems.goal)
        pushes = RowNoise(seeds, "explore actions", (tree_settings.nodes, model.action_dim), problems.goal)
        for round_index in range(tree_settings.rounds):
            tree.extend(tree.draw(draws.at(round_index)), pushes.at(round_index))
        return _best(model, problems, tree, branches)


def _best(model: WorldModel, problems: ModelProblems, tree: Tree, branches: int) -> Branches:
    """The best completions of the tree's best nodes, chosen to differ from one another."""
    count = min(tree.settings.candidates * branches, tree.size)
    nodes = tree.cost[:, : tree.size].topk(count, dim=1, largest=False).indices
    way, depth = tree.path_to(nodes), take(tree.depth, nodes)
    plans = torch.stack(_completions(problems, way, depth), 2).flatten(1, 2)
    if (classes := Classes.of(problems)) is not None:
        plans = classes.rounded(plans)
    context = Context(*(_repeat(part, plans.shape[1]) for part in (problems.context.states, problems.context.actions)))
    states = rollout(model, context, plans.flatten(0, 1))
    cost = problems.goal_cost(states[:, -1], _repeat(problems.goal, plans.shape[1])).view(plans.shape[:2])
    states = states.unflatten(0, plans.shape[:2])
    cost = torch.where(torch.isfinite(cost), cost, torch.inf)
    selected = _different(states, cost, branches)
    evaluations = tree.evaluations + plans.shape[1] * problems.steps
    return Branches(take(plans, selected), take(states, selected), take(cost, selected), evaluations)


def _completions(
    problems: ModelProblems, way: Float[Tensor, "batch nodes time action"], depth: Int[Tensor, "batch nodes"]
) -> list[Float[Tensor, "batch nodes time action"]]:
    """Full-length plans: wait at the end, wait at the start, or slow down so that the path ends with the last step."""
    steps, time = problems.steps, torch.arange(problems.steps, device=way.device)
    null = null_actions(problems, way.shape[3])[:, None].expand_as(way)
    walked = depth.unsqueeze(2)
    late = (time - (steps - walked)).clamp_min(0).unsqueeze(3).expand_as(way)
    waited = torch.where((time < walked).unsqueeze(3), way, null)
    started = torch.where((time >= steps - walked).unsqueeze(3), way.gather(2, late), null)
    return [waited, started, _slower(problems, way, walked)]


def _slower(
    problems: ModelProblems, way: Float[Tensor, "batch nodes time action"], depth: Int[Tensor, "batch nodes 1"]
) -> Float[Tensor, "batch nodes time action"]:
    """The path stretched over all steps: after any fraction of the time, that fraction of its summed actions is done."""
    steps = problems.steps
    summed = torch.nn.functional.pad(way.cumsum(2), (0, 0, 1, 0))
    at = torch.arange(steps + 1, device=way.device) * depth / steps
    below = at.floor().long().clamp_max(steps - 1).unsqueeze(3).expand(*summed.shape[:3], way.shape[3])
    done = torch.lerp(summed.gather(2, below), summed.gather(2, below + 1), at.unsqueeze(3).to(way.dtype) - below)
    return done.diff(dim=2).clamp_(problems.low, problems.high)


def _different(
    states: Float[Tensor, "batch plans time *state"], cost: Float[Tensor, "batch plans"], count: int
) -> Int[Tensor, "batch count"]:
    """Indices of the cheapest plan, then repeatedly of the cheapest that differs from those selected, sorted by cost."""
    flat = states.flatten(2).nan_to_num()
    radius = torch.cdist(flat, flat).mean((1, 2)).clamp_min(torch.finfo(flat.dtype).tiny ** 0.5)
    score = cost.clamp_min(torch.finfo(cost.dtype).tiny).log()
    taken: list[Tensor] = []
    for _ in range(count):
        best = score.argmin(1, keepdim=True)
        taken.append(best)
        apart = torch.cdist(take(flat, best), flat)[:, 0] / radius.unsqueeze(1)
        score = score + _DIVERSITY_PENALTY * (-(2 * apart).square()).exp()
        score = score.scatter(1, best, torch.inf)
    selected = torch.cat(taken, 1)
    return selected.gather(1, take(cost, selected).argsort(dim=1, stable=True))


def _repeat(values: Tensor, count: int) -> Tensor:
    return values.repeat_interleave(count, 0)
