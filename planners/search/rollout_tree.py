"""A tree of model rollouts from each problem's start, grown where nodes are sparse or the goal is near.

Nodes are drawn as in expansive configuration spaces (Hsu, Latombe and Motwani 1997): the more crowded a node, the less often.
A drawn node is extended by a random action that is held for a few model steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from planners.base import ModelProblems
from planners.classes import Classes
from planners.settings import Settings, count, number
from world_models.base import WorldModel

_PAIRS_PER_CALL = {"cpu": 1 << 22}
_PAIRS_PER_CALL_ACCELERATOR = 1 << 26
"""Pairs of nodes whose distances are in memory at once."""
_DIRECT = 32
"""Largest state whose distances are computed from differences, which is exact, instead of by a matrix product."""


@dataclass(frozen=True)
class ExploreSettings(Settings):
    """Settings of a tree's growth, the same for all problems of a batch. Raises UserError for a value out of range."""

    rounds: int = count(50)
    """Rounds of extensions. A tree holds 1 + rounds * nodes windows of states per problem."""
    nodes: int = count(64)
    """Nodes extended per problem and round."""
    hold: int = count(5)
    """Model steps for which an extension holds its action."""
    spread: float = number(1.0, positive=True, by_row=False)
    """Standard deviation of an extension's action, in halves of the bounds' range; the action is clamped to the bounds.

    The fastest path needs about 2 (most actions at a bound); where speed does harm, as in pushing, take 0.3.
    """
    keep: float = number(0.0, high=1.0, by_row=False)
    """Correlation of an extension's action with its parent's; the higher, the straighter the branches."""
    radius: float = number(1.6, positive=True, by_row=False)
    """Distance within which nodes crowd each other, in mean lengths of the first extensions (Euclidean, over all features)."""
    novelty: float = number(2.0, by_row=False)
    """Power of the node density in the weight 1 / density^novelty with which a node is drawn."""
    goal_share: float = number(0.25, high=1.0, by_row=False)
    """Fraction of a round's nodes that are drawn by nearness to the goal as well."""
    greed: float = number(1.0, by_row=False)
    """Power of the goal cost by which the weight of these is divided."""
    candidates: int = count(16)
    """Best nodes per requested branch from which the branches are chosen; each costs three rollouts."""


class Tree:
    """All nodes of all problems, `[batch, capacity, ...]`; the first `size` of them exist, and node 0 is the start."""

    def __init__(self, model: WorldModel, problems: ModelProblems, settings: ExploreSettings) -> None:
        batch, like = problems.batch, problems.goal
        self._model, self._problems, self.settings = model, problems, settings
        self._classes = Classes.of(problems)
        self.capacity = 1 + settings.rounds * settings.nodes
        self.size = 1
        self.evaluations = 0
        context, h = problems.context, model.history
        # Nodes whose windows are shorter than h have them in the last slots.
        self.states = like.new_zeros(batch, self.capacity, h, *context.states.shape[2:])
        self.past = like.new_zeros(batch, self.capacity, h - 1, model.action_dim)
        self.states[:, 0, h - context.known :] = context.states
        self.past[:, 0, h - context.known :] = context.actions
        self.push = like.new_zeros(batch, self.capacity, model.action_dim)
        self.parent = torch.zeros(batch, self.capacity, dtype=torch.long, device=like.device)
        self.depth = torch.zeros_like(self.parent)
        self.cost = like.new_full((batch, self.capacity), torch.inf)
        cost = problems.goal_cost(context.last, problems.goal)
        self.cost[:, 0] = torch.where(torch.isfinite(cost), cost, torch.inf)
        self._density = like.new_ones(batch, self.capacity)
        self._radius = like.new_ones(batch, 1, 1)

    def draw(self, noise: Float[Tensor, "batch 2 capacity"]) -> Int[Tensor, "batch nodes"]:
        """Nodes to extend, each at most once, except that the start fills up where there are too few.

        The k smallest values of (exponential noise / weight) are a draw without replacement in proportion to the weights.
        Unlike inverting the cumulative weights, this hardly ever depends on the last bit of a state.
        """
        settings, size, tiny = self.settings, self.size, torch.finfo(noise.dtype).tiny
        wait = torch.special.log_ndtr(noise[:, :, :size]).neg().clamp_min(tiny).log()
        rare = wait + settings.novelty * self._density[:, None, :size].log()
        rare[:, 1] += settings.greed * self.cost[:, :size].clamp_min(tiny).log()
        extensible = (self.depth[:, :size] < self._problems.steps) & torch.isfinite(self.cost[:, :size])
        rare = torch.where(extensible.unsqueeze(1), rare, torch.inf)
        near = round(settings.goal_share * settings.nodes)
        return torch.cat([_least(rare[:, 0], settings.nodes - near), _least(rare[:, 1], near)], 1)

    def extend(self, nodes: Int[Tensor, "batch nodes"], noise: Float[Tensor, "batch nodes action"]) -> None:
        """Hold one random action per node and add the nodes that it leads to."""
        problems, settings, count = self._problems, self.settings, nodes.shape[1]
        new = slice(self.size, self.size + count)
        # Unit variance at every depth, whatever the share kept of the parent's push.
        inherited = (nodes > 0).unsqueeze(2) * settings.keep
        push = inherited * take(self.push, nodes) + (1 - inherited**2).sqrt() * noise
        self.push[:, new], self.parent[:, new] = push, nodes
        depth = take(self.depth, nodes)
        self.depth[:, new] = (depth + settings.hold).clamp_max(problems.steps)
        states, past = self._held(nodes, self.action(push), self.depth[:, new] - depth)
        sound = torch.isfinite(states.flatten(2)).all(2)
        # A non-finite node gets the start's state: it must not spread NaN to the densities, and is never drawn.
        self.states[:, new] = torch.where(_over(sound, states), states, self.states[:, :1])
        self.past[:, new] = past
        cost = problems.goal_cost(self.states[:, new, -1].flatten(0, 1), problems.goal.repeat_interleave(count, 0)).view(
            sound.shape
        )
        self.cost[:, new] = torch.where(sound & torch.isfinite(cost), cost, torch.inf)
        self.size += count
        self._update_density(new)

    def _held(
        self, nodes: Int[Tensor, "batch nodes"], action: Float[Tensor, "batch nodes action"], steps: Int[Tensor, "batch nodes"]
    ) -> tuple[Float[Tensor, "batch nodes h *state"], Float[Tensor, "batch nodes past action"]]:
        """Windows of states and actions after `steps` model steps (at most `hold`) with the same action."""
        shape, held, limits = nodes.shape, action.flatten(0, 1).unsqueeze(1), steps.flatten()
        states, past = take(self.states, nodes).flatten(0, 1), take(self.past, nodes).flatten(0, 1)
        known, h = self._problems.context.known, self._model.history
        self.evaluations += self.settings.hold * shape[1]
        if known == h:
            states, past = self._hold(states, past, held, limits, h)
        else:
            # Nodes near the root see fewer states than the others: those that see equally many are stepped together.
            seen = (known + take(self.depth, nodes)).clamp_max(h).flatten()
            for count in range(known, h + 1):
                rows = torch.nonzero(seen == count).flatten()
                states[rows], past[rows] = self._hold(states[rows], past[rows], held[rows], limits[rows], count)
        return states.unflatten(0, shape), past.unflatten(0, shape)

    def _hold(
        self,
        states: Float[Tensor, "n h *state"],
        past: Float[Tensor, "n past action"],
        held: Float[Tensor, "n 1 action"],
        limits: Int[Tensor, " n"],
        seen: int,
    ) -> tuple[Float[Tensor, "n h *state"], Float[Tensor, "n past action"]]:
        """Windows after `limits` steps with the actions `held`; the first step sees the last `seen` states."""
        h = states.shape[1]
        for step in range(self.settings.hold if len(states) else 0):
            window, unseen = torch.cat([past, held], 1), max(0, h - seen - step)
            following = self._model.step(states[:, unseen:], window[:, unseen:])
            active = limits > step
            states = torch.where(_over(active, states), torch.cat([states[:, 1:], following.unsqueeze(1)], 1), states)
            past = torch.where(_over(active, past), window[:, 1:], past)
        return states, past

    def _update_density(self, new: slice) -> None:
        """Add new nodes to the densities, where a node counts (1 - (distance / radius)^2)^2 for others within the radius."""
        count, size = new.stop - new.start, self.size
        if new.start == 1:
            first = self.states[:, : new.stop, -1].flatten(2)
            length = (first[:, 1:] - first[:, :1]).norm(dim=2).mean(1)
            self._radius = self.settings.radius * torch.where(length > 0, length, 1.0).view(-1, 1, 1)
        direct = "donot_use_mm_for_euclid_dist" if self.states[0, 0, 0].numel() <= _DIRECT else "use_mm_for_euclid_dist"
        limit = _PAIRS_PER_CALL.get(self.states.device.type, _PAIRS_PER_CALL_ACCELERATOR)
        for rows in torch.arange(len(self.states), device=self.states.device).split(max(1, limit // (count * size))):
            states = self.states[rows, :size, -1].flatten(2)
            # Relative to the start: distances between large numbers would lose the digits that tell near nodes apart.
            states = (states - states[:, :1]) / self._radius[rows]
            apart = torch.cdist(states[:, new], states, compute_mode=direct)
            near = apart.square_().neg_().add_(1).clamp_min_(0).square_()
            self._density[rows, new] = near.sum(2)
            self._density[rows, : new.start] += near[:, :, : new.start].sum(1)

    def action(self, push: Float[Tensor, "*nodes action"]) -> Float[Tensor, "*nodes action"]:
        """Actions for pushes: around the middle of the bounds in halves of their range, or around zero without bounds.

        Of classes, the one with the strongest push is taken.
        """
        if self._classes is not None:
            return self._classes.likeliest(push)
        low, high = self._problems.low, self._problems.high
        bounded = torch.isfinite(low) & torch.isfinite(high)
        half = torch.where(bounded, (high - low) / 2, 1.0)
        middle = torch.where(bounded, (high + low) / 2, 0.0)
        return (middle + self.settings.spread * half * push).clamp_(low, high)

    def path_to(self, nodes: Int[Tensor, "batch nodes"]) -> Float[Tensor, "batch nodes time action"]:
        """The actions from the start to some nodes, zero once these are reached."""
        steps = self._problems.steps
        time = torch.arange(steps, device=nodes.device)
        actions = self.push.new_zeros(*nodes.shape, steps, self.push.shape[2])
        for _ in range(-(-steps // self.settings.hold)):
            before = take(self.parent, nodes)
            begin, end = take(self.depth, before).unsqueeze(2), take(self.depth, nodes).unsqueeze(2)
            actions += ((time >= begin) & (time < end)).unsqueeze(3) * self.action(take(self.push, nodes)).unsqueeze(2)
            nodes = before
        return actions


def _least(rare: Float[Tensor, "batch size"], count: int) -> Int[Tensor, "batch count"]:
    """Indices of the `count` smallest values in increasing order of index; 0 in place of infinite and missing ones."""
    found = rare.topk(min(count, rare.shape[1]), dim=1, largest=False)
    nodes = torch.where(torch.isfinite(found.values), found.indices, 0)
    return torch.nn.functional.pad(nodes, (0, count - nodes.shape[1])).sort(1).values


def take(values: Tensor, nodes: Int[Tensor, "batch nodes"]) -> Tensor:
    """`values[b, nodes[b]]` for values `[batch, capacity, ...]`."""
    rows = torch.arange(len(values), device=values.device).unsqueeze(1)
    return values[rows, nodes]


def _over(mask: Bool[Tensor, "*leading"], like: Tensor) -> Tensor:
    """A mask over the leading axes, reshaped to broadcast over `like`."""
    return mask.view(*mask.shape, *[1] * (like.ndim - mask.ndim))
