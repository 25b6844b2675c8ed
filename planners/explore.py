"""Explore: a tree of model rollouts that looks for a way to the goal before any gradient is followed.

Descent on the goal cost ends in the first dead end on its way. A tree does not: nodes are model states, drawn where few other
nodes are (Hsu et al. 1997, "Path planning in expansive configuration spaces") or where the goal is near, and each drawn node is
extended by a random action that is held for a few model steps. The branches that end nearest the goal are plans to start from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from planners.base import ModelProblems
from planners.initialisers import null_actions
from planners.noise import RowNoise
from world_models.base import Context, WorldModel, rollout
from world_models.errors import require

_PAIRS_PER_CALL = {"cpu": 1 << 22}
_PAIRS_PER_CALL_ACCELERATOR = 1 << 26


@dataclass(frozen=True)
class ExploreSettings:
    """How the tree grows. Raises UserError for a value out of its limits, by name and value."""

    rounds: int = 40
    """Rounds of extensions."""
    nodes: int = 64
    """Nodes a problem that are extended in a round."""
    hold: int = 5
    """Model steps for which an extension holds its action."""
    spread: float = 0.6
    """Standard deviation of an extension's action, in halves of the bounds' range; it is moved inside the bounds."""
    radius: float = 1.0
    """How far nodes crowd each other, in mean lengths of the first extensions."""
    novelty: float = 2.0
    """Power of the crowdedness by which a node is drawn less often."""
    goal_share: float = 0.25
    """Share of a round's nodes that are drawn by nearness to the goal as well."""
    greed: float = 1.0
    """Power of the goal cost by which those are drawn less often."""
    candidates: int = 16
    """Best nodes a branch asked for, of which the branches are chosen."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int":
                require(isinstance(value, int) and value >= 1, f"{field.name} {value!r} is no count: give a whole number >= 1.")
        for name in ("spread", "radius"):
            value = getattr(self, name)
            require(0.0 < value < float("inf"), f"{name} {value!r} is not positive: give a finite number > 0.")
        for name in ("novelty", "greed"):
            value = getattr(self, name)
            require(0.0 <= value < float("inf"), f"{name} {value!r} is negative: give a finite number >= 0.")
        require(0.0 <= self.goal_share <= 1.0, f"goal_share {self.goal_share!r} is no share: give a number from 0 to 1.")


@dataclass(frozen=True)
class Branches:
    """Plans that a tree found, best first: where a search may start."""

    actions: Float[Tensor, "batch branches time action"]
    states: Float[Tensor, "batch branches time *state"]
    """The model's rollout s_1..s_T of `actions`."""
    cost: Float[Tensor, "batch branches"]
    """Goal cost of the last state; infinite where the model's rollout is not finite."""
    evaluations: int
    """Model steps spent a problem."""


def explore(
    model: WorldModel,
    problems: ModelProblems,
    seeds: Sequence[int],
    branches: int = 1,
    settings: ExploreSettings | None = None,
) -> Branches:
    """Plans of full length that end near their goals, `branches` different ones a problem, best first.

    A branch that gets there early is completed in three ways, of which the one that ends nearest the goal counts: waiting at
    the end, waiting at the start (null actions), and the same way at a slower pace. Row i's draws depend on `seeds[i]` only.
    Raises UserError for `branches` < 1 or seeds that do not fit the problems.
    """
    chosen = settings or ExploreSettings()
    require(branches >= 1, f"branches {branches!r} is no count: give a whole number >= 1.")
    require(len(seeds) == problems.batch, f"{len(seeds)} seeds for {problems.batch} problems: give one a problem.")
    with torch.no_grad():
        tree = _Tree(model, problems, chosen)
        draws = RowNoise(seeds, "explore draws", (2, tree.capacity), problems.goal)
        pushes = RowNoise(seeds, "explore actions", (chosen.nodes, model.action_dim), problems.goal)
        for turn in range(chosen.rounds):
            tree.extend(tree.draw(draws.at(turn)), pushes.at(turn))
        return _best(model, problems, tree, branches)


class _Tree:
    """All nodes of all problems, `[batch, capacity, ...]`; the first `size` of them exist, node 0 is the start."""

    def __init__(self, model: WorldModel, problems: ModelProblems, settings: ExploreSettings) -> None:
        batch, like = problems.batch, problems.goal
        self._model, self._problems, self.settings = model, problems, settings
        self.capacity = 1 + settings.rounds * settings.nodes
        self.size = 1
        self.evaluations = 0
        context = problems.context
        self.states = like.new_zeros(batch, self.capacity, *context.states.shape[1:])
        self.past = like.new_zeros(batch, self.capacity, *context.actions.shape[1:])
        self.states[:, 0], self.past[:, 0] = context.states, context.actions
        self.action = like.new_zeros(batch, self.capacity, model.action_dim)
        self.parent = torch.zeros(batch, self.capacity, dtype=torch.long, device=like.device)
        self.depth = torch.zeros_like(self.parent)
        self.cost = like.new_full((batch, self.capacity), torch.inf)
        self.cost[:, 0] = problems.goal_cost(context.last, problems.goal)
        self._crowd = like.new_ones(batch, self.capacity)
        self._radius = like.new_zeros(batch)

    def draw(self, noise: Float[Tensor, "batch 2 capacity"]) -> Int[Tensor, "batch nodes"]:
        """Nodes to extend, each at most once but the start, which fills up where there are too few.

        The k least of (exponential noise / weight) are a draw without replacement in proportion to the weights. Unlike an
        inverse of cumulated weights, it hardly ever turns on the last bit of a state.
        """
        settings, size = self.settings, self.size
        wait = torch.special.log_ndtr(noise[:, :, :size]).neg().clamp_min(torch.finfo(noise.dtype).tiny).log()
        rare = wait + settings.novelty * self._crowd[:, None, :size].log()
        tiny = torch.finfo(noise.dtype).tiny
        rare[:, 1] += settings.greed * self.cost[:, :size].clamp_min(tiny).log()
        open_ = (self.depth[:, :size] < self._problems.steps) & torch.isfinite(self.cost[:, :size])
        rare = torch.where(open_.unsqueeze(1), rare, torch.inf)
        near = round(settings.goal_share * settings.nodes)
        return torch.cat([_least(rare[:, 0], settings.nodes - near), _least(rare[:, 1], near)], 1)

    def extend(self, nodes: Int[Tensor, "batch nodes"], noise: Float[Tensor, "batch nodes action"]) -> None:
        """Hold one random action a node and add where that leads."""
        problems, count = self._problems, nodes.shape[1]
        action = _within(problems, noise * self.settings.spread)
        states, past = _take(self.states, nodes).flatten(0, 1), _take(self.past, nodes).flatten(0, 1)
        depth = _take(self.depth, nodes)
        end = (depth + self.settings.hold).clamp_max(problems.steps)
        held = action.flatten(0, 1).unsqueeze(1)
        for step in range(self.settings.hold):
            window = torch.cat([past, held], 1)
            following = torch.cat([states[:, 1:], self._model.step(states, window).unsqueeze(1)], 1)
            goes_on = (depth + step < end).flatten()
            states = torch.where(_over(goes_on, states), following, states)
            past = torch.where(_over(goes_on, past), window[:, 1:], past)
        self.evaluations += self.settings.hold * count
        new = slice(self.size, self.size + count)
        sound = torch.isfinite(states.flatten(1)).all(1)
        # A lost node keeps its place with the start's state: it must not crowd anyone with NaN, and is never drawn.
        origin = self.states[:, :1].expand(-1, count, *self.states.shape[2:]).flatten(0, 1)
        states = torch.where(_over(sound, states), states, origin)
        cost = problems.goal_cost(states[:, -1], problems.goal.repeat_interleave(count, 0))
        self.states[:, new] = states.unflatten(0, (problems.batch, count))
        self.past[:, new] = past.unflatten(0, (problems.batch, count))
        self.action[:, new], self.parent[:, new], self.depth[:, new] = action, nodes, end
        self.cost[:, new] = torch.where(sound & torch.isfinite(cost), cost, torch.inf).view(problems.batch, count)
        self._crowd_with(new)
        self.size += count

    def _crowd_with(self, new: slice) -> None:
        """Count new nodes in, softly: a node counts exp(-(distance / radius)^2) for another, 1 for itself."""
        size, count = new.stop, new.stop - new.start
        states = self.states[:, :size, -1].flatten(2)
        if self.size == 1:
            self._radius = (states[:, 1:] - states[:, :1]).norm(dim=2).mean(1) * self.settings.radius
            self._radius.clamp_min_(torch.finfo(states.dtype).tiny ** 0.5)
        limit = _PAIRS_PER_CALL.get(states.device.type, _PAIRS_PER_CALL_ACCELERATOR)
        for rows in torch.arange(len(states), device=states.device).split(max(1, limit // (count * size))):
            apart = torch.cdist(states[rows][:, new], states[rows])
            kernel = apart.div_(self._radius[rows].view(-1, 1, 1)).square_().neg_().exp_()
            self._crowd[rows, : new.start] += kernel[:, :, : new.start].sum(1)
            self._crowd[rows, new] = kernel.sum(2)

    def way(self, nodes: Int[Tensor, "batch nodes"]) -> Float[Tensor, "batch nodes time action"]:
        """The actions from the start to some nodes, zero after these are reached."""
        steps = self._problems.steps
        time = torch.arange(steps, device=nodes.device)
        actions = self.action.new_zeros(*nodes.shape, steps, self.action.shape[2])
        for _ in range(-(-steps // self.settings.hold)):
            before = _take(self.parent, nodes)
            begin, end = _take(self.depth, before).unsqueeze(2), _take(self.depth, nodes).unsqueeze(2)
            actions += ((time >= begin) & (time < end)).unsqueeze(3) * _take(self.action, nodes).unsqueeze(2)
            nodes = before
        return actions


def _best(model: WorldModel, problems: ModelProblems, tree: _Tree, branches: int) -> Branches:
    """The best completions of the tree's best nodes, different ones."""
    count = min(tree.settings.candidates * branches, tree.size)
    nodes = tree.cost[:, : tree.size].topk(count, dim=1, largest=False).indices
    way, depth = tree.way(nodes), _take(tree.depth, nodes)
    plans = torch.stack(_completions(problems, way, depth), 2).flatten(1, 2)
    context = Context(*(_repeat(part, plans.shape[1]) for part in (problems.context.states, problems.context.actions)))
    states = rollout(model, context, plans.flatten(0, 1))
    cost = problems.goal_cost(states[:, -1], _repeat(problems.goal, plans.shape[1])).view(plans.shape[:2])
    states = states.unflatten(0, plans.shape[:2])
    cost = torch.where(torch.isfinite(cost), cost, torch.inf)
    chosen = _different(states, cost, branches)
    evaluations = tree.evaluations + plans.shape[1] * problems.steps
    return Branches(_take(plans, chosen), _take(states, chosen), _take(cost, chosen), evaluations)


def _completions(
    problems: ModelProblems, way: Float[Tensor, "batch nodes time action"], depth: Int[Tensor, "batch nodes"]
) -> list[Float[Tensor, "batch nodes time action"]]:
    """Plans of full length: wait at the end, wait at the start, and slow down so that the last step ends the way."""
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
    """The way stretched over all steps: after any share of the time the same share of its summed actions is done."""
    steps = problems.steps
    summed = torch.nn.functional.pad(way.cumsum(2), (0, 0, 1, 0))
    at = torch.arange(steps + 1, device=way.device) * depth / steps
    below = at.floor().long().clamp_max(steps - 1).unsqueeze(3).expand(*summed.shape[:3], way.shape[3])
    done = torch.lerp(summed.gather(2, below), summed.gather(2, below + 1), at.unsqueeze(3).to(way.dtype) - below)
    return done.diff(dim=2).clamp_(problems.low, problems.high)


def _different(
    states: Float[Tensor, "batch plans time *state"], cost: Float[Tensor, "batch plans"], count: int
) -> Int[Tensor, "batch count"]:
    """The cheapest plan, then again and again the cheapest that goes elsewhere than those taken, sorted by cost."""
    flat = states.flatten(2).nan_to_num()
    radius = torch.cdist(flat, flat).mean((1, 2)).clamp_min(torch.finfo(flat.dtype).tiny ** 0.5)
    score = cost.clamp_min(torch.finfo(cost.dtype).tiny).log()
    taken: list[Tensor] = []
    for _ in range(count):
        best = score.argmin(1, keepdim=True)
        taken.append(best)
        apart = torch.cdist(_take(flat, best), flat)[:, 0] / radius.unsqueeze(1)
        score = score + _ELSEWHERE * (-(2 * apart).square()).exp()
        score = score.scatter(1, best, torch.inf)
    chosen = torch.cat(taken, 1)
    return chosen.gather(1, _take(cost, chosen).argsort(dim=1, stable=True))


_ELSEWHERE = 20.0
"""Log of the factor by which a plan beside one that is taken already counts as dearer."""


def _within(problems: ModelProblems, normal: Float[Tensor, "batch nodes action"]) -> Float[Tensor, "batch nodes action"]:
    """Actions about the middle of the bounds, in halves of their range; of unit size about zero where there are none."""
    bounded = torch.isfinite(problems.low) & torch.isfinite(problems.high)
    half = torch.where(bounded, (problems.high - problems.low) / 2, 1.0)
    middle = torch.where(bounded, (problems.high + problems.low) / 2, 0.0)
    return (middle + half * normal).clamp_(problems.low, problems.high)


def _least(rare: Float[Tensor, "batch size"], count: int) -> Int[Tensor, "batch count"]:
    """Indices of the `count` smallest in rising order of index; 0 in place of infinite and missing ones."""
    found = rare.topk(min(count, rare.shape[1]), dim=1, largest=False)
    nodes = torch.where(torch.isfinite(found.values), found.indices, 0)
    return torch.nn.functional.pad(nodes, (0, count - nodes.shape[1])).sort(1).values


def _take(values: Tensor, nodes: Int[Tensor, "batch nodes"]) -> Tensor:
    """`values[b, nodes[b]]` for values `[batch, capacity, ...]`."""
    rows = torch.arange(len(values), device=values.device).unsqueeze(1)
    return values[rows, nodes]


def _over(mask: Bool[Tensor, " n"], like: Tensor) -> Tensor:
    """A mask over the first axis, ready to be broadcast over `like`."""
    return mask.view(-1, *[1] * (like.ndim - 1))


def _repeat(values: Tensor, count: int) -> Tensor:
    return values.repeat_interleave(count, 0)
