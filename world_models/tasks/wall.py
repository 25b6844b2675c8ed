"""DINO-WM's Wall-Single: a point in a square arena that a wall with one door divides.

Geometry and success radius are those of Zhou et al., "DINO-WM" (arXiv 2411.04983). Lengths are in px, x points right and y
down. Contact is sliding: the wall removes the normal part of a step and leaves the tangential part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from world_models.errors import UnknownNameError, UserError, require
from world_models.seeding import stable_rng
from world_models.tasks.base import Problem, check_block, check_horizon
from world_models.tasks.drawing import AGENT, PAPER, WALL, Canvas, fractions
from world_models.tasks.geometry import walk
from world_models.tasks.points import PointTask
from world_models.tasks.wall_arena import (
    DOOR_HIGH,
    DOOR_LOW,
    HIGH,
    KINDS,
    LOW,
    SIZE,
    WALL_LEFT,
    WALL_RIGHT,
    advance,
    free_points,
    geodesics,
    inside_wall,
    of_kind,
)
from world_models.tasks.wall_behaviour import sample_behaviour

SUCCESS = 4.5
"""Distance to the goal below which a plan succeeds, px."""
MARGIN = 1.5
"""Least excess over SUCCESS of a problem's initial distance to the goal, px."""
EXTENT = (0.0, 0.0, float(SIZE), float(SIZE))
"""The scene's edges on an image: left, top, right, bottom."""
FASTEST = 1e6
"""Largest `speed`."""
BUDGET = (0.7, 0.95)
"""Range of a problem's path length, as fractions of the distance that the horizon allows."""


@dataclass(frozen=True)
class Wall(PointTask):
    """A point that moves by `speed` px times its action per step and must pass a door. State = observation = pose = (x, y), px.

    Raises UserError for an unknown `kind` (see `KINDS`), a `speed` that is not positive or an `action_block` below 1.
    """

    kind: str = "shallow"
    speed: float | int = 1.0
    action_block: int = 1

    name = "wall"
    version = 1
    action_dim = 2
    observation_dim = 2
    distance_unit = "px"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownNameError("problem kind of task wall", self.kind, KINDS)
        try:
            object.__setattr__(self, "speed", float(self.speed))
        except (TypeError, ValueError):
            raise UserError(f"wall speed {self.speed!r} is not a number: give px per step, such as 1.0.") from None
        number = isinstance(self.speed, int | float) and not isinstance(self.speed, bool)
        require(
            number and 0.0 < self.speed <= FASTEST,
            f"wall speed {self.speed!r} is not a number above 0, up to {FASTEST:g}: give px per step, such as 1.0.",
        )
        check_block(self.action_block)

    @property
    def goal_tolerance(self) -> Float[np.ndarray, " 2"]:
        """The success radius in both directions."""
        return np.full(2, SUCCESS)

    @property
    def dynamics(self) -> Mapping[str, object]:
        """The settings that change the dynamics; the kind of problem does not."""
        return {"name": self.name, "speed": self.speed, "action_block": self.action_block}

    def problem(self, seed: int, horizon: int) -> Problem:
        """The problem of a seed: a path of the wanted kind whose length is 70-95 % of the distance that the horizon allows."""
        check_horizon(horizon, self.action_block)
        rng = stable_rng(self.name, self.kind, self.speed, horizon, seed)
        reach = horizon * self.speed
        far = min(BUDGET[0] * reach, KINDS[self.kind])
        for _ in range(64):
            starts = free_points(rng, 512)
            goals = free_points(rng, 512)
            angle, radius = rng.uniform(0.0, 2.0 * np.pi, 256), BUDGET[1] * reach * np.sqrt(rng.uniform(0.0, 1.0, 256))
            near = starts[:256] + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
            within = ((near > LOW) & (near < HIGH)).all(1)
            goals[:256][within] = near[within]
            usable = ~inside_wall(goals)
            paths, lengths = geodesics(starts, goals)
            usable &= of_kind(self.kind, paths) & (lengths >= far) & (lengths <= BUDGET[1] * reach)
            usable &= np.hypot(*(goals - starts).T) > SUCCESS + MARGIN
            for i in np.flatnonzero(usable):
                built = self._build(seed, horizon, paths[i])
                if built is not None:
                    return built
        raise UserError(
            f"wall has no {self.kind!r} problem of {horizon} steps at speed {self.speed:g}: "
            "choose a longer horizon, a higher speed or another kind."
        )

    def _build(self, seed: int, horizon: int, path: Float[np.ndarray, "corners 2"]) -> Problem | None:
        """The problem whose reference actions follow `path`; None if corners cost too many steps."""
        try:
            motions = walk(path, horizon, self.speed)
        except ValueError:
            return None
        actions = motions / self.speed
        goal = self.simulate(path[:1], actions[None])[0, -1]
        return Problem(seed, horizon, self.kind, path[0].copy(), goal, actions)

    def simulate(
        self, states: Float[np.ndarray, "batch 2"], actions: Float[np.ndarray, "batch time 2"]
    ) -> Float[np.ndarray, "batch time_plus_one 2"]:
        """Positions before and after each action; exact at any speed. Raises UserError for starts outside the free space."""
        outside = inside_wall(states) | ~((states >= LOW) & (states <= HIGH)).all(1)
        if outside.any():
            where = states[int(np.argmax(outside))].tolist()
            raise UserError(
                f"wall start {where} is not in the free space: keep within [{LOW:g}, {HIGH:g}] and out of the wall."
            )
        result = np.empty((len(states), actions.shape[1] + 1, 2))
        result[:, 0] = states
        for t in range(actions.shape[1]):
            result[:, t + 1] = advance(result[:, t], self.speed * actions[:, t])
        return result

    def reached(self, poses: Float[np.ndarray, "*batch 2"], goals: Float[np.ndarray, "*batch 2"]) -> Bool[np.ndarray, "*batch"]:
        """Whether the goal is nearer than 4.5 px."""
        return self.distance(poses, goals) < SUCCESS

    @property
    def distance_bands(self) -> tuple[float, ...]:
        """Lower edges of the path-distance bands in which goal costs are assessed, px."""
        return (0.0, 5.0, 10.0, 20.0, 40.0)

    def path_distance(self, poses: Float[np.ndarray, "n 2"], goals: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        """Length of the shortest path around the wall, px."""
        return geodesics(poses, goals)[1]

    def pixels(self, states: Float[np.ndarray, "n 2"], size: int) -> UInt8[np.ndarray, "n size size 3"]:
        """The arena from above, with border, wall and a red dot at the point's position."""
        canvas = Canvas(size, EXTENT, WALL)
        canvas.box(LOW, LOW, HIGH, HIGH, PAPER)
        canvas.box(WALL_LEFT, 0.0, WALL_RIGHT, DOOR_LOW, WALL)
        canvas.box(WALL_LEFT, DOOR_HIGH, WALL_RIGHT, SIZE, WALL)
        return canvas.dots(states, 2.0, AGENT)

    def on_picture(self, poses: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch points 2"]:
        """The point's position on `render`'s image."""
        return fractions(poses, EXTENT)

    def sample(
        self, rng: np.random.Generator, count: int, length: int
    ) -> tuple[Float[np.ndarray, "count time_plus_one 2"], Float[np.ndarray, "count length 2"]]:
        """Starts all over the arena, more of them at walls, door and corners; noise, pushes and walks to far points."""
        return sample_behaviour(rng, count, length, self.speed)
