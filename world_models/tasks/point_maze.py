"""gymnasium-robotics' PointMaze: a ball in a maze, driven by forces (MuJoCo).

Layouts, physics and velocity limits are those of `PointMaze_UMaze-v3` and `PointMaze_Medium-v3`. Lengths are in m, x points
right and y up. A step takes 0.01 s, in which the ball moves at most 0.05 m.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from world_models.errors import UnknownNameError, UserError
from world_models.seeding import stable_rng
from world_models.tasks.base import Problem, check_block, check_horizon
from world_models.tasks.drawing import AGENT, PAPER, WALL, Canvas, fractions
from world_models.tasks.maze_behaviour import follow, near_cells, sample_behaviour
from world_models.tasks.maze_grid import LAYOUTS, Grid, grid
from world_models.tasks.maze_physics import Stepper

SUCCESS = 0.5
"""Distance to the goal below which a plan succeeds, m."""
MARGIN = 0.15
"""Least excess over SUCCESS of a problem's initial distance to the goal, m."""
ADVANCE = 0.024
"""Path length through the maze per step of the horizon that a problem requires, m."""
ACCELERATING = 12
"""Steps that the ball needs to accelerate, which the required path length leaves out."""
CANDIDATES, ROUNDS = 6, 24
"""Trajectories drawn per round, and rounds before a horizon is refused."""


@dataclass(frozen=True)
class PointMaze:
    """A ball in a maze. Simulator state = observation = (x, y, velocity x, velocity y), pose = (x, y), in m and m/s.

    Raises UserError for an unknown `maze` (`umaze`, `medium`) or an `action_block` below 1.
    """

    maze: str = "umaze"
    action_block: int = 1

    name = "point_maze"
    version = 1
    action_dim = 2
    observation_dim = 4
    distance_unit = "m"

    def __post_init__(self) -> None:
        if self.maze not in LAYOUTS:
            raise UnknownNameError("maze of task point_maze", self.maze, LAYOUTS)
        check_block(self.action_block)

    @property
    def goal_tolerance(self) -> Float[np.ndarray, " 4"]:
        """The success radius in both directions; velocities do not matter."""
        return np.array([SUCCESS, SUCCESS, np.inf, np.inf])

    @property
    def dynamics(self) -> Mapping[str, object]:
        """The settings that change the dynamics."""
        return {"name": self.name, "maze": self.maze, "action_block": self.action_block}

    @property
    def layout(self) -> Grid:
        """The maze's cells."""
        return grid(self.maze)

    def problem(self, seed: int, horizon: int) -> Problem:
        """The problem of a seed: its goal is the end of a trajectory that follows shortest paths for `horizon` steps from rest.

        Its path length through the maze grows with the horizon, up to half of the maze's longest path.
        """
        check_horizon(horizon, self.action_block)
        rng = stable_rng(self.name, self.maze, horizon, seed)
        maze, stepper = self.layout, Stepper(self.maze)
        min_distance = max(SUCCESS + MARGIN, min(ADVANCE * (horizon - ACCELERATING), maze.steps.max() / 2))
        least = int(np.ceil(min_distance)) + 1
        for _ in range(ROUNDS):
            positions = near_cells(rng, maze, rng.integers(0, len(maze.cells), CANDIDATES))
            starts = np.concatenate([positions, np.zeros_like(positions)], 1)
            states, actions = follow(rng, maze, stepper, starts, horizon, least)
            ends = states[:, -1, :2]
            usable = (maze.distance(positions, ends) >= min_distance) & (self.distance(ends, positions) > SUCCESS + MARGIN)
            if usable.any():
                i = int(usable.argmax())
                return Problem(seed, horizon, self.maze, starts[i], states[i, -1].copy(), actions[i])
        raise UserError(
            f"point_maze has no problem of {horizon} steps in {self.maze!r}: the ball starts at rest and can't get "
            f"farther than {SUCCESS + MARGIN} m; choose a horizon of 30 or more."
        )

    def simulate(
        self, states: Float[np.ndarray, "batch 4"], actions: Float[np.ndarray, "batch time 2"]
    ) -> Float[np.ndarray, "batch time_plus_one 4"]:
        """States before and after each action; exact from any state, as a step depends only on state and action."""
        stepper = Stepper(self.maze)
        result = np.empty((len(states), actions.shape[1] + 1, 4))
        result[:, 0] = states
        for t in range(actions.shape[1]):
            result[:, t + 1] = stepper.advance(result[:, t], actions[:, t])
        return result

    def observe(self, states: Float[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 4"]:
        """Position and velocity, which are the state itself."""
        return states

    def pose(self, observations: Float[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 2"]:
        """The position."""
        return observations[..., :2]

    def distance(
        self, poses: Float[np.ndarray, "*batch 2"], goals: Float[np.ndarray, "*batch 2"]
    ) -> Float[np.ndarray, "*batch"]:
        """Straight-line distance, m."""
        return np.linalg.norm(poses - goals, axis=-1)

    def reached(self, poses: Float[np.ndarray, "*batch 2"], goals: Float[np.ndarray, "*batch 2"]) -> Bool[np.ndarray, "*batch"]:
        """Whether the goal is nearer than 0.5 m."""
        return self.distance(poses, goals) < SUCCESS

    def pose_errors(
        self, poses: Float[np.ndarray, "*batch 2"], goals: Float[np.ndarray, "*batch 2"]
    ) -> dict[str, Float[np.ndarray, "*batch"]]:
        """Position error, m."""
        return {"position_m": self.distance(poses, goals)}

    @property
    def proprioception_dim(self) -> int:
        """4: position and velocity."""
        return 4

    def proprioception(self, states: Float[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 4"]:
        """Position and velocity, m and m/s."""
        return states

    def observed_proprioception(self, observations: Float[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 4"]:
        """Position and velocity, m and m/s, which are what is observed."""
        return observations

    def pixels(self, states: Float[np.ndarray, "n 4"], size: int) -> UInt8[np.ndarray, "n size size 3"]:
        """The maze from above, with a red dot (twice the ball's size) at the ball's position."""
        canvas = Canvas(size, self._extent, WALL)
        for x, y in self.layout.centres.tolist():
            canvas.box(x - 0.5, y + 0.5, x + 0.5, y - 0.5, PAPER)
        return canvas.dots(states[:, :2], 0.2, AGENT)

    def render(self, state: Float[np.ndarray, " state"], size: int = 64) -> UInt8[np.ndarray, "size size 3"]:
        """The image of one state."""
        return self.pixels(state[None], size)[0]

    def on_picture(self, poses: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch points 2"]:
        """The ball's position on `render`'s image."""
        return fractions(poses, self._extent)

    @property
    def _extent(self) -> tuple[float, float, float, float]:
        height, width = self.layout.walls.shape
        return (-width / 2, height / 2, width / 2, -height / 2)

    def sample(
        self, rng: np.random.Generator, count: int, length: int
    ) -> tuple[Float[np.ndarray, "count time_plus_one 4"], Float[np.ndarray, "count length 2"]]:
        """Starts all over the maze, up to top speed and in contact; random forces, pushes at walls, paths to far points."""
        return sample_behaviour(rng, self.layout, Stepper(self.maze), count, length)
