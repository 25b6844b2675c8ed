"""Push-T's physics: one pymunk space with gym-pusht's walls, agent and block. Lengths are in px, times in s, angles in rad."""

from __future__ import annotations

import itertools
import os

import numpy as np
from jaxtyping import Float

from world_models.tasks.push_t.shapes import ARENA

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

ACTION_PX = 100.0
"""Distance in px to the target of a relative action of 1 (DINO-WM's scale)."""
SUBSTEPS, DT = 10, 0.01
STIFFNESS, FRICTION = 100.0, 20.0
"""gym-pusht's PD controller of the agent: acceleration per px of error and per px/s of speed."""

Wall = tuple[tuple[int, int], tuple[int, int]]

_CORNERS = ((5, 506), (5, 5), (506, 5), (506, 506), (5, 506))


class Scene:
    """One pymunk space with gym-pusht's walls, agent and block, restored in full from a simulator state."""

    walls: tuple[Wall, ...] = tuple(itertools.pairwise(_CORNERS))
    """The arena's sides, in the order and direction in which they are added."""
    start = ((0.0, 0.0), (0.0, 0.0))
    """Positions of agent and block until they are restored."""

    def __init__(self, state: Float[np.ndarray, " simulator_state"]) -> None:
        self._build()
        self._restore(state)

    def _build(self) -> None:
        import pymunk
        from gym_pusht.envs.pusht import PushTEnv

        self.space = pymunk.Space()
        self.space.damping = 0.0
        self.sides = [PushTEnv.add_segment(self.space, begin, end, 2) for begin, end in self.walls]
        self.space.add(*self.sides)
        self.agent = PushTEnv.add_circle(self.space, self.start[0], 15)
        self.block, self.boxes = PushTEnv.add_tee(self.space, self.start[1], 0)

    def _restore(self, state: Float[np.ndarray, " simulator_state"]) -> None:
        self.put_bodies(state)

    def put_bodies(self, state: Float[np.ndarray, " simulator_state"]) -> None:
        """Put both bodies where a simulator state has them, without a step."""
        self.x, self.y, self.vx, self.vy = (float(v) for v in state[:4])
        self.agent.position, self.agent.velocity = (self.x, self.y), (self.vx, self.vy)
        # Setting the angle rotates the body about its centre of gravity, so it must be set before the position (gym-pusht's
        # own reset uses the opposite order and displaces the block).
        self.block.angle = float(state[6])
        self.block.position = (float(state[4]), float(state[5]))
        self.block.velocity = (float(state[7]), float(state[8]))
        self.block.angular_velocity = float(state[9])
        self.space.reindex_shapes_for_body(self.agent)
        self.space.reindex_shapes_for_body(self.block)

    def state(self) -> Float[np.ndarray, " simulator_state"]:
        """The current simulator state."""
        block = self.block
        position, velocity = block.position, block.velocity
        row = [self.x, self.y, self.vx, self.vy, position.x, position.y, block.angle, velocity.x, velocity.y]
        return np.array([*row, block.angular_velocity])

    def target(self, action: Float[np.ndarray, " action"]) -> tuple[float, float]:
        """Where a relative action sends the agent: `ACTION_PX * action` away, inside the arena."""
        x, y = self.x + ACTION_PX * float(action[0]), self.y + ACTION_PX * float(action[1])
        return min(max(x, 0.0), ARENA), min(max(y, 0.0), ARENA)

    def step(self, action: Float[np.ndarray, " action"]) -> None:
        """Take one environment step (0.1 s): the agent moves towards the action's target."""
        target_x, target_y = self.target(action)
        agent, space = self.agent, self.space
        x, y, vx, vy = self.x, self.y, self.vx, self.vy
        for _ in range(SUBSTEPS):
            vx += (STIFFNESS * (target_x - x) - FRICTION * vx) * DT
            vy += (STIFFNESS * (target_y - y) - FRICTION * vy) * DT
            agent.velocity = (vx, vy)
            space.step(DT)
            x += vx * DT
            y += vy * DT
        self.x, self.y, self.vx, self.vy = x, y, vx, vy
