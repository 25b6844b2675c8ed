"""Push-T's shapes: the block's centre of gravity, and images of agent and block. Lengths are in px, y points down."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

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
