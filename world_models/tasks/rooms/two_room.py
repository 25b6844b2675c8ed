"""stable-worldmodel's TwoRoom (`swm/TwoRoom-v1`) with its default variations: start and target vary, nothing else.

Positions are px of a picture of 224 x 224. Upstream computes in float32, and so do we, which keeps every bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from world_models.seeding import member_seeds
from world_models.tasks.rooms.pictures import two_room_pictures
from world_models.tasks.rooms.room import Room
from world_models.tasks.rooms.walks import Plan

SPEED = 5.0
"""Px that an action of 1 moves, in each direction."""
LOW, HIGH = 21.0, 203.0
"""Limits of the point in both coordinates: the borders at 14 and 210, and the radius 7."""
MIDDLE = 112.0
STOPS = (100.0, 124.0)
"""Horizontal positions beyond which the point touches the wall: its faces at 107 and 117, and the radius."""
PUSHED_BACK = 0.5
"""Distance in px from there at which a point is put that would enter the wall."""
DOOR = (33.25, 64.75)
"""Vertical positions at which nothing stops the point: 49 +- 14, and a margin of 1.75."""
DRAWN = (14.0, 209.0)
"""Limits of random starts and targets; the latter may be in the wall, and the former at the border."""
SUCCESS = 16.0

Points = Float[np.ndarray, "n 2"]


@dataclass(frozen=True)
class TwoRoom(Room):
    """A point that moves by 5 px times its action per step, and must pass a door."""

    name = "two_room"
    success = SUCCESS
    side = 224

    @property
    def plan(self) -> Plan:
        """The floor plan by which walks find the door."""
        mouths = STOPS[0] - PUSHED_BACK, STOPS[1] + PUSHED_BACK
        return Plan(LOW, HIGH, mouths, sum(DOOR) / 2.0, (DOOR[1] - DOOR[0]) / 2.0 - 1.0, SPEED)

    def advance(self, points: Points, actions: Points) -> Points:
        """Positions after one action each, which is clipped: a point that would enter the wall is put before it.

        The door is open to every point whose next vertical position is in it, whatever is on the way there; a step over the
        whole wall is stopped too, as only the side where it began counts.
        """
        begun = points.astype(np.float32)
        after = begun + np.clip(actions.astype(np.float32), -1.0, 1.0) * np.float32(SPEED)
        x, y = np.clip(after, LOW, HIGH).T
        left, barred = begun[:, 0] < MIDDLE, ~((y >= DOOR[0]) & (y <= DOOR[1]))
        x = np.where(left & barred & (x > STOPS[0]), STOPS[0] - PUSHED_BACK, x)
        x = np.where(~left & barred & (x < STOPS[1]), STOPS[1] + PUSHED_BACK, x)
        return np.stack([x, y], -1).astype(np.float64)

    def reached(self, poses: Float[np.ndarray, "*batch 2"], goals: Float[np.ndarray, "*batch 2"]) -> Bool[np.ndarray, "*batch"]:
        """Whether the goal is nearer than 16 px, in float32.

        torch, by which upstream computes the norm, adds the second square without rounding it first.
        """
        right, down = np.moveaxis(poses.astype(np.float32) - goals.astype(np.float32), -1, 0)
        squares = (right * right).astype(np.float64) + down.astype(np.float64) ** 2
        return np.asarray(np.sqrt(squares.astype(np.float32)) < np.float32(SUCCESS))

    def random_states(self, seed: int) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
        """Start and target of `reset(seed)`: starts that touch the wall's band are drawn again, targets are not.

        The generators are seeded through the mappings of the space of variations (Gymnasium's `Dict.seed`), by name.
        """
        groups = member_seeds(seed, "agent background door rendering target task wall")
        agent = member_seeds(groups["agent"], "color position radius speed")
        target = member_seeds(groups["target"], "color position radius")
        starts, targets = (np.random.default_rng(each["position"]) for each in (agent, target))

        def drawn(rng: np.random.Generator) -> Float[np.ndarray, " 2"]:
            return rng.uniform(*DRAWN, 2).astype(np.float32).astype(np.float64)

        start = drawn(starts)
        while STOPS[0] <= start[0] <= STOPS[1]:
            start = drawn(starts)
        return start, drawn(targets)

    def pixels(self, states: Points, size: int) -> UInt8[np.ndarray, "n size size 3"]:
        """Upstream's pictures: a red dot that fades, on white; black walls and border lines; no target."""
        return two_room_pictures(states, size)
