"""DINO-WM's point maze (`PointMazeWrapper`): D4RL's U maze, 0.05 s a step. Lengths are in m.

Its packages (mujoco-py, d4rl) need MuJoCo 2.1. The task was written by reading them, and compared with DINO-WM's classes
on today's MuJoCo. Pictures are an approximation (see `pictures`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from world_models.errors import UnknownNameError, UserError
from world_models.seeding import stable_rng
from world_models.tasks.base import Problem, check_horizon, last_word
from world_models.tasks.maze_behaviour import follow, near_cells, sample_behaviour
from world_models.tasks.point_maze import MARGIN, SUCCESS, PointMaze
from world_models.tasks.point_maze_dino.physics import SIZE, Ball, Turned, rotated, turned
from world_models.tasks.point_maze_dino.pictures import on_image, pictures

FOLLOWED, RANDOM = "followed", "random"
ADVANCE = 0.08
"""Path length through the maze per step of the horizon that a problem requires, m."""
ACCELERATING = 3
"""Steps that the ball needs to accelerate, which the required path length leaves out."""
CANDIDATES, ROUNDS = 6, 24
"""Trajectories drawn per round, and rounds before a horizon is refused."""
TOP_DRAWN = 5.2262554
"""Largest velocity of random states in each coordinate, m/s."""


@dataclass(frozen=True)
class PointMazeDino(PointMaze):
    """A ball in D4RL's U maze. Simulator state: x, y, velocity x, y, and the solver's last accelerations, not observed.

    Raises UserError for another `maze` than `umaze`.
    """

    problems: str = FOLLOWED
    """`followed`: goals at the end of paths through the maze; `random`: start and goal of upstream's random calls."""

    name = "point_maze_dino"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.maze != "umaze":
            raise UserError(f"{self.name} has the maze 'umaze' only, not {self.maze!r}: leave it out.")
        if self.problems not in (FOLLOWED, RANDOM):
            raise UnknownNameError(f"kind of problems of {self.name}", self.problems, (FOLLOWED, RANDOM))

    @property
    def dynamics(self) -> Mapping[str, object]:
        """The settings that change the dynamics."""
        return {"name": self.name, "action_block": self.action_block}

    def problem(self, seed: int, horizon: int) -> Problem:
        """The problem of a seed: a path that is followed from rest, or upstream's own random start and goal.

        Raises UserError for a horizon in which the ball gets nowhere.
        """
        check_horizon(horizon, self.action_block)
        if self.problems == RANDOM:
            start, goal = self.random_states(seed)
            return Problem(seed, horizon, RANDOM, start, goal, np.zeros((0, 2)))  # nobody has shown a way to the goal
        rng, maze = stable_rng(self.name, horizon, seed), self.layout
        least = max(SUCCESS + MARGIN, min(ADVANCE * (horizon - ACCELERATING), maze.steps.max() / 2))
        for _ in range(ROUNDS):
            positions = near_cells(rng, maze, rng.integers(0, len(maze.cells), CANDIDATES))
            begun = np.concatenate([positions, np.zeros_like(positions)], 1)
            followed, forces = follow(rng, maze, Turned(), begun, horizon, int(np.ceil(least)) + 1)
            ends = followed[:, -1, :2]
            usable = (maze.distance(positions, ends) >= least) & (self.distance(ends, positions) > SUCCESS + MARGIN)
            if usable.any():
                row = slice(int(usable.argmax()), int(usable.argmax()) + 1)
                start, actions = turned(begun[row]), rotated(forces[row])
                return Problem(seed, horizon, FOLLOWED, start[0], self.simulate(start, actions)[0, -1], actions[0])
        raise UserError(f"{self.name} has no problem of {horizon} steps: the ball starts at rest; choose 10 or more.")

    def random_states(self, seed: int) -> tuple[Float[np.ndarray, " 6"], Float[np.ndarray, " 6"]]:
        """Start and goal of `sample_random_init_goal_states(seed)`: anywhere in the U, with velocities."""
        rng = np.random.RandomState(seed)

        def drawn() -> Float[np.ndarray, " 6"]:
            while True:
                x, y = rng.uniform(0.5, 3.1), rng.uniform(0.5, 3.1)
                if not 1.1 < x < 2.5 or y >= 2.5:
                    return np.array([x, y, rng.uniform(-TOP_DRAWN, TOP_DRAWN), rng.uniform(-TOP_DRAWN, TOP_DRAWN), 0.0, 0.0])

        return drawn(), drawn()

    def reset_state(self, seed: int) -> Float[np.ndarray, " 6"]:
        """The start that upstream draws for a seed."""
        return self.random_states(seed)[0]

    def simulate(
        self, states: Float[np.ndarray, "batch 6"], actions: Float[np.ndarray, "batch time 2"]
    ) -> Float[np.ndarray, "batch time_plus_one 6"]:
        """States before and after each action; exact from any state."""
        ball = Ball()
        result = np.empty((len(states), actions.shape[1] + 1, SIZE))
        result[:, 0] = states
        for t in range(actions.shape[1]):
            result[:, t + 1] = ball.move(result[:, t], actions[:, t])
        return result

    def observe(self, states: Float[np.ndarray, "*batch 6"]) -> Float[np.ndarray, "*batch 4"]:
        """Position and velocity."""
        return states[..., :4]

    def proprioception(self, states: Float[np.ndarray, "*batch 6"]) -> Float[np.ndarray, "*batch 4"]:
        """Position and velocity, m and m/s."""
        return states[..., :4]

    @property
    def restored_from(self) -> str:
        """Columns that determine a state, in words."""
        return "a column `state` or `states` of x, y, velocity x, y, or the task's observations"

    def recorded_states(
        self, columns: Mapping[str, Shaped[np.ndarray, "n *shape"]], observations: Float[np.ndarray, "n 4"] | None
    ) -> Float[np.ndarray, "n 6"] | None:
        """States of recorded rows, just reset unless `simulator_state` has all of them."""
        known = {last_word(name): values for name, values in columns.items() if values.ndim == 2}
        if "simulator_state" in known and known["simulator_state"].shape[1] == SIZE:
            return known["simulator_state"].astype(np.float64)
        rows = next((known[name] for name in ("state", "states") if name in known and known[name].shape[1] == 4), observations)
        return None if rows is None else np.concatenate([rows, np.zeros((len(rows), 2))], 1).astype(np.float64)

    def pixels(self, states: Float[np.ndarray, "n 6"], size: int) -> UInt8[np.ndarray, "n size size 3"]:
        """The maze from above, with a green ball: x points right and y down."""
        return pictures(states[:, :2], size)

    def on_picture(self, poses: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch points 2"]:
        """The ball's position on `render`'s image."""
        return on_image(poses)[..., None, :]

    def sample(
        self, rng: np.random.Generator, count: int, length: int
    ) -> tuple[Float[np.ndarray, "count time_plus_one 6"], Float[np.ndarray, "count length 2"]]:
        """Behaviour of `point_maze`: starts all over the maze; random forces, pushes at walls, paths to far points."""
        begun, forces = sample_behaviour(rng, self.layout, Turned(), count, length)
        actions = rotated(forces)
        return self.simulate(turned(begun[:, 0]), actions), actions
