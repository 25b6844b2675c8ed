"""Push-T: a round pusher moves a T-shaped block; gym-pusht's physics (pymunk), relative actions, full restore of both bodies.

Simulator state: agent x, y, vx, vy; block x, y, angle, vx, vy, angular velocity (px, px/s, rad, rad/s).
Observation: agent x, y, vx, vy; block centre of gravity x, y; cos and sin of its angle; the agent in the block's frame x, y
(redundant, and worth a third of the model's error: contact depends on it alone).

Success is judged by the block's centre of gravity. DINO-WM and stable-worldmodel judge by its body's origin, at the T's bar,
with the same tolerances: another test, mostly a stricter one, which `push_t_upstream` has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from world_models.errors import UserError
from world_models.tasks.base import Problem, check_block, check_horizon
from world_models.tasks.push_t.behaviour import Pusher, random_actions
from world_models.tasks.push_t.scene import ACTION_PX, Scene
from world_models.tasks.push_t.shapes import ARENA, CENTRE, block_centre, pictures, states_of_rows, wrap_angle

POSITION_TOLERANCE, ANGLE_TOLERANCE = 20.0, np.pi / 9
"""DINO-WM's tolerances: |(agent, block) - goal| in px, and the block's angle in radians."""
WALL_MARGIN = 60.0
"""Distance in px that problems keep between the block's centre and the arena's sides, where a kinematic agent can jam it."""
HUMAN_PACE = 0.2
"""Size of the relative actions in problems: about 10 px per step, the pace of human Push-T demonstrations."""
DRAWS = 200
"""Draws of a scripted trajectory before a horizon is refused."""
DRAWN_STEPS = 100_000
"""About how many steps those draws may have together: the pusher leaves the arena sooner or later."""


@dataclass(frozen=True)
class PushT:
    """Push-T with relative actions in `[-1, 1]^2 x 100 px`; one environment step is 0.1 s.

    Methods with a leading underscore are where `PushTUpstream` differs.
    """

    action_block: int = 1

    name = "push_t"
    version = 1
    action_dim = 2
    observation_dim = 10
    distance_unit = "px"

    def __post_init__(self) -> None:
        check_block(self.action_block)

    @property
    def goal_tolerance(self) -> Float[np.ndarray, " observation"]:
        """The success test's tolerances; velocities and the redundant features do not matter."""
        far, angle_tolerance = POSITION_TOLERANCE, np.sin(ANGLE_TOLERANCE)
        return np.array([far, far, np.inf, np.inf, far, far, angle_tolerance, angle_tolerance, np.inf, np.inf])

    @property
    def dynamics(self) -> dict[str, object]:
        """The settings that change the dynamics."""
        return {"name": self.name, "action_block": self.action_block}

    def problem(self, seed: int, horizon: int) -> Problem:
        """The problem of a seed: a start at rest, and a goal that a scripted pusher reaches after `horizon` steps.

        The block moves by more than the success test tolerates, so that doing nothing fails.
        """
        check_horizon(horizon, self.action_block)
        for draw in range(min(DRAWS, 10 + DRAWN_STEPS // horizon)):
            rng = np.random.default_rng([seed, horizon, draw, 0x9057])
            start = self._begin(rng, near=True)
            states, actions = self._behave(start, Pusher(rng, HUMAN_PACE), horizon)
            moved = np.linalg.norm(block_centre(states[-1]) - block_centre(start))
            turned = abs(wrap_angle(states[-1, 6:7] - start[6:7])[0])
            inside = np.abs(block_centre(states) - ARENA / 2).max() < ARENA / 2 - WALL_MARGIN
            if inside and (moved > 1.5 * POSITION_TOLERANCE or turned > 1.5 * ANGLE_TOLERANCE):
                return Problem(seed, horizon, "push", start, states[-1], actions)
        fault = "too short to reach and move the block" if horizon < 100 else "too long to stay inside the arena"
        raise UserError(f"{self.name}: horizon {horizon} is {fault}: choose one from 10 to 1000.")

    def simulate(
        self, states: Float[np.ndarray, "batch simulator_state"], actions: Float[np.ndarray, "batch time action"]
    ) -> Float[np.ndarray, "batch time_plus_one simulator_state"]:
        """States before and after each action, row by row in fresh pymunk spaces: contact caches never leak between rows."""
        result = np.empty((len(states), actions.shape[1] + 1, states.shape[1]))
        for row, (state, plan) in enumerate(zip(states, actions, strict=True)):
            scene = self._scene(state)
            result[row, 0] = state
            for t, action in enumerate(plan):
                scene.step(action)
                result[row, t + 1] = scene.state()
        return result

    def observe(self, states: Float[np.ndarray, "*batch simulator_state"]) -> Float[np.ndarray, "*batch observation"]:
        """Agent position and velocity, block centre, cos and sin of the block's angle, agent in the block's frame."""
        place = self._block_place(states)
        cos, sin = np.cos(states[..., 6]), np.sin(states[..., 6])
        right, down = states[..., 0] - place[..., 0], states[..., 1] - place[..., 1]
        derived = np.stack([cos, sin, cos * right + sin * down, cos * down - sin * right], -1)
        return np.concatenate([states[..., :4], place, derived], -1)

    @property
    def action_units(self) -> dict[str, float]:
        """DINO-WM records relative actions in px."""
        return {"px": ACTION_PX}

    @property
    def restored_from(self) -> str:
        """Columns that determine a state, in words."""
        return (
            "a column `state` of agent x, y, block x, y, angle and, if recorded, the agent's vx, vy, or the task's observations"
        )

    def recorded_states(
        self, columns: Mapping[str, Shaped[np.ndarray, "n *shape"]], observations: Float[np.ndarray, "n 10"] | None
    ) -> Float[np.ndarray, "n simulator_state"] | None:
        """States of recorded rows, of a block at rest unless `simulator_state` has its velocities."""
        return states_of_rows(columns, observations)

    def pose(self, observations: Float[np.ndarray, "*batch observation"]) -> Float[np.ndarray, "*batch pose"]:
        """Agent x, y, block x, y (px), block angle (rad)."""
        angle = np.arctan2(observations[..., 7:8], observations[..., 6:7])
        return np.concatenate([observations[..., :2], observations[..., 4:6], angle], -1)

    def distance(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> Float[np.ndarray, "*batch"]:
        """Distance |(agent, block) - goal|, px."""
        return np.linalg.norm(poses[..., :4] - goals[..., :4], axis=-1)

    def reached(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> Bool[np.ndarray, "*batch"]:
        """Whether the pose is within 20 px and pi/9 of the goal."""
        turned = np.abs(wrap_angle(poses[..., 4] - goals[..., 4]))
        return (self.distance(poses, goals) < POSITION_TOLERANCE) & (turned < ANGLE_TOLERANCE)

    def pose_errors(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> dict[str, Float[np.ndarray, "*batch"]]:
        """Agent and block position errors, px, and the block's angle error, degrees."""
        return {
            "agent_px": np.linalg.norm(poses[..., :2] - goals[..., :2], axis=-1),
            "block_px": np.linalg.norm(poses[..., 2:4] - goals[..., 2:4], axis=-1),
            "angle_deg": np.degrees(np.abs(wrap_angle(poses[..., 4] - goals[..., 4]))),
        }

    @property
    def proprioception_dim(self) -> int:
        """4: the agent's position and velocity."""
        return 4

    def proprioception(self, states: Float[np.ndarray, "*batch simulator_state"]) -> Float[np.ndarray, "*batch 4"]:
        """The agent's position and velocity, px and px/s."""
        return states[..., :4]

    def observed_proprioception(self, observations: Float[np.ndarray, "*batch observation"]) -> Float[np.ndarray, "*batch 4"]:
        """The agent's position and velocity, px and px/s, which come first in an observation."""
        return observations[..., :4]

    def pixels(self, states: Float[np.ndarray, "n simulator_state"], size: int) -> UInt8[np.ndarray, "n size size 3"]:
        """Agent (blue disc) and block (grey T) from above."""
        return pictures(states, size)

    def render(self, state: Float[np.ndarray, " simulator_state"], size: int = 64) -> UInt8[np.ndarray, "size size 3"]:
        """The image of one state."""
        return self.pixels(state[None], size)[0]

    def on_picture(self, poses: Float[np.ndarray, "*batch pose"]) -> Float[np.ndarray, "*batch points 2"]:
        """Agent and block centre as fractions of the arena."""
        return np.stack([poses[..., :2], poses[..., 2:4]], -2) / ARENA

    def sample(
        self, rng: np.random.Generator, count: int, length: int
    ) -> tuple[Float[np.ndarray, "count time simulator_state"], Float[np.ndarray, "count length action"]]:
        """Scripted pushes with noise, and a third of smooth random actions near the block."""
        runs = []
        for row in range(count):
            start = self._begin(rng, near=row % 2 == 0)
            if row % 3 == 0:
                actions = random_actions(rng, length)
                runs.append((self.simulate(start[None], actions[None])[0], actions))
            else:
                pusher = Pusher(rng, pace=rng.uniform(0.1, 0.7), noise=0.3 * rng.random())
                runs.append(self._behave(start, pusher, length))
        return np.stack([states for states, _ in runs]), np.stack([actions for _, actions in runs])

    def _scene(self, state: Float[np.ndarray, " simulator_state"]) -> Scene:
        """The physics in a state."""
        return Scene(state)

    def _begin(self, rng: np.random.Generator, near: bool) -> Float[np.ndarray, " simulator_state"]:
        """A start of training behaviour and of problems."""
        return start_at_rest(rng, near)

    def _block_place(self, states: Float[np.ndarray, "*batch simulator_state"]) -> Float[np.ndarray, "*batch 2"]:
        """The point of the block by which it is observed and judged."""
        return block_centre(states)

    def _behave(
        self, start: Float[np.ndarray, " simulator_state"], pusher: Pusher, length: int
    ) -> tuple[Float[np.ndarray, "time simulator_state"], Float[np.ndarray, "length action"]]:
        """Run the scripted pusher: states before and after each action, and the actions."""
        scene = self._scene(start)
        states, actions = [start], []
        for _ in range(length):
            action = pusher.act(states[-1][:2], block_centre(states[-1]))
            scene.step(action)
            states.append(scene.state())
            actions.append(action)
        return np.stack(states), np.stack(actions)


def start_at_rest(rng: np.random.Generator, near: bool = False) -> Float[np.ndarray, " simulator_state"]:
    """A start with agent and block at rest and apart; `near` puts the agent next to the block, as midway in a demonstration."""
    centre, angle = rng.uniform(130, 382, 2), rng.uniform(-np.pi, np.pi)
    while True:
        direction = rng.uniform(-np.pi, np.pi)
        adjacent = centre + rng.uniform(95, 115) * np.array([np.cos(direction), np.sin(direction)])
        agent = adjacent if near else rng.uniform(30, 482, 2)
        if np.linalg.norm(agent - centre) > 95 and ((agent > 20) & (agent < 492)).all():
            break
    origin = centre - CENTRE[1] * np.array([-np.sin(angle), np.cos(angle)])
    return np.array([*agent, 0.0, 0.0, *origin, angle, 0.0, 0.0, 0.0])
