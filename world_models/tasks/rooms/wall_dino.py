"""DINO-WM's wall environment (`WallEnvWrapper`): a point that bounces off a wall with one door.

Positions are px of a picture of 65 x 65, which is then resized. Where upstream's position becomes not a number, ours does not
(see `bounce`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from world_models.errors import UserError, brief, require
from world_models.tasks.rooms.bounces import BORDER, DOOR_HALF, FAR_BORDER, WALL_HALF, bounce
from world_models.tasks.rooms.pictures import wall_pictures
from world_models.tasks.rooms.room import Room
from world_models.tasks.rooms.walks import Plan

SUCCESS = 4.5
SPEED = 2.0
"""Px that upstream's action of 1 moves, in each direction."""
PADDING = 3.4
"""Distance in px that random starts and goals keep from border and wall: twice the dot's deviation."""
BUILT_WALL = 32
"""Position of the wall when upstream draws random states, which a later change of its layout does not move."""
CLEARANCE = 2.0
"""Distance in px of walks from the wall, as bounces are 0.5 px."""

Points = Float[np.ndarray, "n 2"]


@dataclass(frozen=True)
class WallDino(Room):
    """A point that moves by 2 px times upstream's action per step. Raises UserError for a layout or bound that can't be."""

    wall: int = BUILT_WALL
    """Horizontal position of the wall's middle, px."""
    door: int = 10
    """Vertical position of the door's middle, px: 10 as in `wall_single`'s data, to which evaluations set it; upstream's own
    default is 30."""
    bound: float | int = 1.8
    """Upstream's action that is 1 of ours: upstream has no bounds, and its data have actions of lengths up to 1.8."""

    name = "wall_dino"
    success = SUCCESS
    side = 65

    def __post_init__(self) -> None:
        super().__post_init__()
        for label, value in (("wall", self.wall), ("door", self.door)):
            whole = isinstance(value, int) and not isinstance(value, bool) and 10 <= value <= 54
            require(
                whole, f"wall_dino: {label} {brief(value)} is not a whole position in px from 10 to 54: give one, such as 32."
            )
        try:
            object.__setattr__(self, "bound", float(self.bound))
        except (TypeError, ValueError):
            raise UserError(f"wall_dino: bound {brief(self.bound)} is not a number: give one, such as 1.8.") from None
        require(
            0.0 < self.bound <= 1e3, f"wall_dino: bound {self.bound:g} is not above 0 and at most 1000: give one, such as 1.8."
        )

    @property
    def dynamics(self) -> Mapping[str, object]:
        """The settings that change the dynamics."""
        return {**super().dynamics, "wall": self.wall, "door": self.door, "bound": self.bound}

    @property
    def plan(self) -> Plan:
        """The floor plan by which walks find the door."""
        out = WALL_HALF + CLEARANCE
        low, high = BORDER + 1.0, FAR_BORDER - 1.0
        return Plan(low, high, (self.wall - out, self.wall + out), float(self.door), DOOR_HALF - 1.0, SPEED * self.bound)

    @property
    def takes_any_action(self) -> bool:
        """True: upstream does not clip actions."""
        return True

    def normalise(self, recorded: Shaped[np.ndarray, "n *shape"]) -> Points:
        """The task's actions for recorded ones of upstream's environment."""
        return recorded.reshape(len(recorded), -1).astype(np.float64) / self.bound

    def advance(self, points: Points, actions: Points) -> Points:
        """Positions after one action each."""
        return bounce(points, points + (self.bound * actions) * SPEED, self.wall, self.door)

    def reached(self, poses: Float[np.ndarray, "*batch 2"], goals: Float[np.ndarray, "*batch 2"]) -> Bool[np.ndarray, "*batch"]:
        """Whether the goal is nearer than 4.5 px."""
        return np.asarray(self.distance(poses, goals) < SUCCESS)

    def random_states(self, seed: int) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
        """Start and goal of `sample_random_init_goal_states(seed)`: one in each room."""
        rng = np.random.RandomState(seed)
        inset = BORDER + PADDING
        low, high = inset, self.side - 1.0 - inset
        left = rng.uniform(low, BUILT_WALL - WALL_HALF - PADDING)
        right = rng.uniform(BUILT_WALL + WALL_HALF + PADDING, high)
        start_y, goal_y = rng.uniform(low, high), rng.uniform(low, high)
        start_x, goal_x = (right, left) if rng.uniform(0.0, 1.0) < 0.5 else (left, right)
        return np.array([start_x, start_y]), np.array([goal_x, goal_y])

    def pixels(self, states: Points, size: int) -> UInt8[np.ndarray, "n size size 3"]:
        """Upstream's pictures: a red dot that fades, on white; a black wall, and lines that run on to the edge."""
        return wall_pictures(states, size, self.wall, self.door)
