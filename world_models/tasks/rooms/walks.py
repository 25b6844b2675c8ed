"""Behaviour in two rooms: walks through the door to far points, smooth noise, and pushes against walls. Lengths are in px."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from world_models.seeding import smooth_noise

NOISE, WALK, PUSH = range(3)
"""Modes of training behaviour: smooth noise; a walk to a far point; one action that is held."""
SHARES = (0.3, 0.45, 0.25)
SWITCH = 1.0 / 15.0
"""Probability per step of switching the mode."""
IN_DOOR = 0.15
"""Share of training starts in the door."""
REACH = 0.75
"""Length of a problem's way, as a share of what its steps allow, up to which start and goal are taken as they are drawn."""
LANDED = 1e-3
"""Distance below which a walk has arrived at a corner."""

Points = Float[np.ndarray, "n 2"]
Advance = Callable[[Points, Points], Points]
"""The positions after one action each, which is in [-1, 1]."""


@dataclass(frozen=True)
class Plan:
    """The floor plan of two rooms beside each other: where a point can be, and where the door is."""

    low: float
    high: float
    """Limits of positions that walks and starts keep to, in both coordinates."""
    mouths: tuple[float, float]
    """Horizontal positions left and right of the wall at which the door is entered and left."""
    door: float
    """Vertical position of the door's middle."""
    half_door: float
    """Distance from there that is still in the door."""
    stride: float
    """Length of a step whose action has length 1."""

    @property
    def middle(self) -> float:
        """Horizontal position of the wall's middle."""
        return sum(self.mouths) / 2.0

    def room(self, rng: np.random.Generator, left: Bool[np.ndarray, " n"]) -> Points:
        """A point of each room, drawn evenly."""
        y = rng.uniform(self.low, self.high, len(left))
        x = np.where(left, rng.uniform(self.low, self.mouths[0], len(left)), rng.uniform(self.mouths[1], self.high, len(left)))
        return np.stack([x, y], -1)

    def anywhere(self, rng: np.random.Generator, count: int) -> Points:
        """Points in both rooms, and some in the door."""
        points = self.room(rng, rng.random(count) < 0.5)
        inside = rng.random(count) < IN_DOOR
        in_door = rng.uniform(
            (self.mouths[0], self.door - 0.9 * self.half_door), (self.mouths[1], self.door + 0.9 * self.half_door), (count, 2)
        )
        return np.where(inside[:, None], in_door, points)

    def through_door(self, starts: Points, goals: Points) -> Float[np.ndarray, " n"]:
        """Lengths of the ways between points of different rooms through the middle of the door."""
        left = starts[:, 0] < self.middle
        near, far = self._mouths(left)
        return np.hypot(*(near - starts).T) + np.hypot(*(far - near).T) + np.hypot(*(goals - far).T)

    def heading(self, points: Points, goals: Points) -> Points:
        """Where walks to the goals go next: the goal, or a mouth of the door."""
        left = points[:, 0] < self.middle
        near, far = self._mouths(left)
        other_room = left != (goals[:, 0] < self.middle)
        beyond = np.where(left, points[:, 0] - self.mouths[0], self.mouths[1] - points[:, 0]) > -LANDED
        in_door = beyond & (np.abs(points[:, 1] - self.door) < self.half_door)
        onward = np.where(in_door[:, None], far, near)
        back = np.where((in_door & ~other_room & (np.abs(points[:, 0] - near[:, 0]) > LANDED))[:, None], near, goals)
        return np.where(other_room[:, None], onward, back)

    def steps(self, points: Points, goals: Points, pace: Float[np.ndarray, " n"]) -> Points:
        """Actions of walks to the goals, of length `pace` unless a corner is nearer."""
        wanted = (self.heading(points, goals) - points) / self.stride
        length = np.hypot(wanted[:, 0], wanted[:, 1])
        return wanted * (pace / np.maximum(length, pace))[:, None]

    def _mouths(self, left: Bool[np.ndarray, " n"]) -> tuple[Points, Points]:
        """The mouths on the same side and on the other side."""
        ends = [np.stack([np.full(len(left), x), np.full(len(left), self.door)], -1) for x in self.mouths]
        return np.where(left[:, None], *ends), np.where(left[:, None], *ends[::-1])


def crossing(
    plan: Plan, rng: np.random.Generator, steps: int, advance: Advance
) -> tuple[Float[np.ndarray, "time_plus_one 2"], Float[np.ndarray, "time 2"]]:
    """A walk of `steps` steps towards a point of the other room: positions before and after each action, and actions.

    Start and goal are the first of many draws whose way the steps allow. Of ways that are all too long, the shortest is walked
    as far as the steps go.
    """
    left = np.repeat(rng.random() < 0.5, 64)
    starts, goals = plan.room(rng, left), plan.room(rng, ~left)
    lengths = plan.through_door(starts, goals)
    excess = np.maximum(lengths - REACH * steps * plan.stride, 0.0)
    chosen = int(excess.argmin())  # the first that is short enough, if there is one
    point, goal = starts[chosen][None], goals[chosen][None]
    pace = np.clip(1.2 * lengths[chosen : chosen + 1] / (steps * plan.stride), 0.05, 0.95)
    states, actions = [point[0]], []
    for _ in range(steps):
        action = plan.steps(point, goal, pace)
        point = advance(point, action)
        states.append(point[0])
        actions.append(action[0])
    return np.stack(states), np.stack(actions)


def wander(
    plan: Plan, rng: np.random.Generator, count: int, length: int, advance: Advance
) -> tuple[Float[np.ndarray, "count time_plus_one 2"], Float[np.ndarray, "count length 2"]]:
    """Training behaviour: positions before and after each action, and actions within [-1, 1], drawn only from `rng`."""
    noise = smooth_noise(rng, count, length, 2)
    loudness, jitter = rng.uniform(0.2, 0.8, (count, 1)), rng.choice([0.0, 0.05, 0.2], (count, 1))
    states, actions = np.empty((count, length + 1, 2)), np.empty((count, length, 2))
    states[:, 0] = plan.anywhere(rng, count)
    modes, held, goals, pace = np.zeros(count, int), np.zeros((count, 2)), np.zeros((count, 2)), np.ones(count)
    for t in range(length):
        switch = rng.random(count) < (1.0 if t == 0 else SWITCH)
        modes = np.where(switch, rng.choice(len(SHARES), count, p=SHARES), modes)
        held = np.where(switch[:, None], rng.uniform(-1.0, 1.0, (count, 2)), held)
        goals = np.where(switch[:, None], plan.anywhere(rng, count), goals)
        pace = np.where(switch, rng.uniform(0.2, 1.0, count), pace)
        walks = plan.steps(states[:, t], goals, pace)
        intended = np.select([(modes == WALK)[:, None], (modes == PUSH)[:, None]], [walks, held], 0.0)
        shaken = np.where((modes == NOISE)[:, None], loudness, jitter) * noise[:, t]
        actions[:, t] = np.clip(intended + shaken, -1.0, 1.0)
        states[:, t + 1] = advance(states[:, t], actions[:, t])
    return states, actions
