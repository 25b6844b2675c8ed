"""Push-T's shapes: the block's centre of gravity, and images of agent and block. Lengths are in px, y points down."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from world_models.tasks.base import last_word
from world_models.tasks.drawing import Canvas, Colour
from world_models.tasks.raster import Shape, disc, draw, rotated_boxes

ARENA = 512.0
"""Side of the arena."""
CENTRE = np.array([0.0, 45.0])
"""The block's centre of gravity in its own frame: gym-pusht's mean of the bar's (0, 15) and the stem's (0, 75)."""
AGENT_RADIUS = 15.0
BOXES = ((-60.0, 0.0, 60.0, 30.0), (-15.0, 0.0, 15.0, 120.0))
"""The T in the block's own frame: bar, and stem up to the bar's far side (left, top, right, bottom)."""
REACH = 77.0
"""Upper bound of the distance of the T's points from its centre of gravity."""

PAPER: Colour = (255, 255, 255)
BORDER: Colour = (211, 211, 211)
BLOCK: Colour = (119, 136, 153)
AGENT: Colour = (0, 114, 178)


def block_centre(states: Float[np.ndarray, "*batch simulator_state"]) -> Float[np.ndarray, "*batch 2"]:
    """Centre of gravity of the block, px."""
    cos, sin = np.cos(states[..., 6]), np.sin(states[..., 6])
    return np.stack([states[..., 4] - CENTRE[1] * sin, states[..., 5] + CENTRE[1] * cos], -1)


def states_of_rows(
    columns: Mapping[str, Shaped[np.ndarray, "n *shape"]],
    observations: Float[np.ndarray, "n 10"] | None,
    by_origin: bool = False,
) -> Float[np.ndarray, "n 10"] | None:
    """States of recorded rows: whole, or of agent x, y, block x, y, angle (gym-pusht), or those with vx, vy of the agent.

    The agent's velocities may be a column of their own (DINO-WM); those that no column and no observations have are 0. Where
    only observations are recorded, the block is put where they say: its body's origin, or else its centre of gravity.
    """
    rest = np.zeros((len(next(iter(columns.values()))), 2)) if columns else np.zeros((0, 2))
    speeds = [value for name, value in columns.items() if last_word(name) == "velocities" and value.shape[1:] == (2,)]
    rest = speeds[0] if speeds else rest
    for name, values in columns.items():
        last, size = last_word(name), values.reshape(len(values), -1).shape[1]
        if last == "simulator_state" and size == 10:
            return values.astype(np.float64)
        if last in ("state", "states") and size in (5, 7):
            known = rest if observations is None else observations[:, 2:4]
            return _at_rest(values[:, :2], values[:, 5:] if size == 7 else known, values[:, 2:4], values[:, 4])
    if observations is None:
        return None
    angle = np.arctan2(observations[:, 7], observations[:, 6])
    origin = observations[:, 4:6]
    if not by_origin:
        origin = origin - block_centre(_at_rest(observations[:, :2], observations[:, 2:4], np.zeros((len(angle), 2)), angle))
    return _at_rest(observations[:, :2], observations[:, 2:4], origin, angle)


def _at_rest(agent: np.ndarray, velocity: np.ndarray, block: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """States whose block does not move."""
    return np.concatenate([agent, velocity, block, angle[:, None], np.zeros((len(angle), 3))], axis=1).astype(np.float64)


def pictures(states: Float[np.ndarray, "n simulator_state"], size: int) -> UInt8[np.ndarray, "n size size 3"]:
    """Images of the agent (blue disc) over the block (grey T), from above."""
    canvas = Canvas(size, (0.0, 0.0, ARENA, ARENA), BORDER)
    canvas.box(4.0, 4.0, ARENA - 4.0, ARENA - 4.0, PAPER)
    scale = size / ARENA
    about_centre = np.tile(CENTRE, 2)
    boxes = [tuple(((np.array(box) - about_centre) * scale).tolist()) for box in BOXES]
    block = Shape(block_centre(states) * scale, REACH * scale, rotated_boxes(states[:, 6], boxes), BLOCK)
    agent = Shape(states[:, :2] * scale, AGENT_RADIUS * scale, disc(AGENT_RADIUS * scale), AGENT)
    return draw(canvas.array(), [block, agent])


def wrap_angle(angle: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """Angles in radians, wrapped to [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
