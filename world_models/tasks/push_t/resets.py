"""Resets of Push-T as DINO-WM and stable-worldmodel make them, and the simulator state that remembers them.

Both put the bodies where they are asked to and take one simulator step of 0.01 s, which moves the agent on and pushes apart
what overlaps. stable-worldmodel's reset does so for the goal first and then, in the same space, for the start, so that contacts
of the goal reach into the start. What contacts leave behind (cached impulses, pseudo-velocities) is in no body's state, so a
simulator state that was just reset holds what was visited, and the physics begins by visiting it again.

Simulator state, 25 numbers: those of `push_t` (10); the number of visits of a reset that was just made, else 0; what was
visited first if there are two, and what was asked for, as agent x, y, block x, y, angle, agent vx, vy (7 each, 0 if unused).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from world_models.seeding import member_seeds
from world_models.tasks.push_t.scene import ACTION_PX, DT, Scene

PLAIN, VISITS = 10, 10
"""Numbers of `push_t`'s state, which come first, and the place of the number of visits behind them."""
SIZE = 25
BEFORE, ASKED = slice(11, 18), slice(18, 25)
"""The places of what was visited first, and of what was asked for."""
UPSTREAM_ORDER = (0, 1, 4, 5, 6, 2, 3)
"""Places in `push_t`'s state of upstream's state: agent x, y, block x, y, angle, agent vx, vy."""
SETTLINGS = ("dino_wm", "swm")
"""Whose resets: swm's visits the goal before the start."""


class UpstreamScene(Scene):
    """The physics from a reset or, approximately in contacts, from the middle of an episode; targets are not clipped."""

    walls = (((5, 506), (5, 5)), ((5, 5), (506, 5)), ((506, 5), (506, 506)), ((5, 506), (506, 506)))
    start = ((256.0, 400.0), (256.0, 300.0))

    def _restore(self, state: Float[np.ndarray, " simulator_state"]) -> None:
        if not state[VISITS]:
            self.put_bodies(state)
            return
        if state[VISITS] > 1:
            self._visit(state[BEFORE])
        self._visit(state[ASKED])

    def _visit(self, asked: Float[np.ndarray, " 7"]) -> None:
        """Put the bodies somewhere as a reset does, and take its one simulator step."""
        agent_x, agent_y, block_x, block_y, angle, vx, vy = (float(v) for v in asked)
        self.agent.velocity, self.agent.position = (vx, vy), (agent_x, agent_y)
        self.block.angle = angle
        self.block.position = (block_x, block_y)
        self.space.step(DT)
        (self.x, self.y), (self.vx, self.vy) = self.agent.position, self.agent.velocity

    def state(self) -> Float[np.ndarray, " simulator_state"]:
        """The current simulator state, with the angle in [0, 2 pi) as upstream observes it."""
        result = np.zeros(SIZE)
        result[:PLAIN] = super().state()
        result[6] %= 2 * np.pi
        return result

    def target(self, action: Float[np.ndarray, " action"]) -> tuple[float, float]:
        """Where a relative action sends the agent, which may be outside the arena."""
        return self.x + ACTION_PX * float(action[0]), self.y + ACTION_PX * float(action[1])


def asked(rows: Float[np.ndarray, "*n 7"], before: Float[np.ndarray, "*n 7"] | None = None) -> Float[np.ndarray, "*n 25"]:
    """Simulator states of a reset to upstream's states, as they were asked for and not settled yet."""
    result = np.zeros((*rows.shape[:-1], SIZE))
    result[..., UPSTREAM_ORDER] = rows
    result[..., VISITS] = 1.0
    if before is not None:
        result[..., VISITS], result[..., BEFORE] = 2.0, before
    result[..., ASKED] = rows
    return result


def settled(states: Float[np.ndarray, "n 25"]) -> Float[np.ndarray, "n 25"]:
    """States that were just reset as upstream observes them, after the reset's simulator step; others as they are."""
    result = states.copy()
    for row in np.flatnonzero(states[:, VISITS]):
        result[row, :PLAIN] = UpstreamScene(states[row]).state()[:PLAIN]
    return result


def upstream_rows(states: Float[np.ndarray, "*n simulator_state"]) -> Float[np.ndarray, "*n 7"]:
    """Upstream's states of simulator states: agent x, y, block x, y, angle, agent vx, vy."""
    return states[..., UPSTREAM_ORDER]


def dino_wm_states(seed: int) -> tuple[Float[np.ndarray, " 7"], Float[np.ndarray, " 7"]]:
    """Start and goal that DINO-WM draws for a seed (`sample_random_init_goal_states`); its angles are not wrapped."""
    rng = np.random.RandomState(seed)

    def drawn() -> Float[np.ndarray, " 7"]:
        agent, block = (rng.randint(50, 450), rng.randint(50, 450)), (rng.randint(100, 400), rng.randint(100, 400))
        return np.array([*agent, *block, rng.randn() * 2 * np.pi - np.pi, 0.0, 0.0])

    return drawn(), drawn()


def swm_states(seed: int) -> tuple[Float[np.ndarray, " 7"], Float[np.ndarray, " 7"]]:
    """Start and goal of stable-worldmodel's `reset(seed)` with its default variations.

    Its space of variations is a mapping of mappings; each is seeded with a number that the generator of the mapping around it
    draws, in the order of their names (Gymnasium's `Dict.seed`).
    """
    groups = member_seeds(seed, "agent background block goal rendering")
    agent = member_seeds(groups["agent"], "angle color scale shape start_position velocity")
    block = member_seeds(groups["block"], "angle color scale shape start_position")
    draw_agent, draw_block, draw_angle = (
        np.random.default_rng(each) for each in (agent["start_position"], block["start_position"], block["angle"])
    )

    def drawn() -> Float[np.ndarray, " 7"]:
        angle = draw_angle.uniform(-2 * np.pi, 2 * np.pi)
        return np.array([*draw_agent.uniform(50, 450, 2), *draw_block.uniform(100, 400, 2), angle, 0.0, 0.0])

    return drawn(), drawn()
