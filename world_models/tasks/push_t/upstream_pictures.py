"""Pictures of Push-T as DINO-WM and stable-worldmodel draw them: the target T, block and agent, the border, and contacts.

They are drawn on 512 x 512 px with whole coordinates and hard edges, and shrunk without a filter (bilinear). Paper and target
are drawn once; the rest of each picture takes some fifty calls of pygame. Upstream draws the same by pymunk's debug drawing,
whose last layer shows each contact as a thin line: it is of the moment after a step, so that the poses tell it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from world_models.tasks.drawing import Colour
from world_models.tasks.push_t.resets import UpstreamScene, asked
from world_models.tasks.push_t.shapes import AGENT_RADIUS, ARENA, block_centre

if TYPE_CHECKING:
    import pygame

SIDE = int(ARENA)
"""Side in px of the picture that is drawn, one px for each px of the arena."""
TARGET = (256.0, 256.0, np.pi / 4)
"""Position and angle of the T that is always drawn, wherever the goal is."""
BOXES = (((-60.0, 0.0), (60.0, 0.0), (60.0, 30.0), (-60.0, 30.0)), ((-15.0, 30.0), (15.0, 30.0), (15.0, 120.0), (-15.0, 120.0)))
"""Corners of the T's bar and stem in its own frame, in the order of pymunk, by which lines between them are drawn."""
THICKNESS = 2.0
"""Half the width of the border and of the block's outline."""
PAPER: Colour = (255, 255, 255)
TARGET_COLOUR: Colour = (144, 238, 144)
BORDER_COLOUR: Colour = (211, 211, 211)
BLOCK_COLOUR: Colour = (143, 163, 184)
OUTLINE_COLOUR: Colour = (119, 136, 153)
AGENT_COLOUR: Colour = (65, 105, 225)
AGENT_CENTRE_COLOUR: Colour = (78, 126, 255)
CONTACT_COLOUR: Colour = (231, 76, 60)
CONTACT_REACH = 2.0
"""Length of a contact's line on either side of the surfaces."""
RING = 4
"""Width of the agent's ring."""
NEAR = 77.0 + AGENT_RADIUS + 2.0
"""Distance from the block's centre of gravity beyond which the agent cannot touch it."""

Point = tuple[int, int]


def pictures(states: Float[np.ndarray, "n simulator_state"], size: int) -> UInt8[np.ndarray, "n size size 3"]:
    """Images of simulator states, RGB."""
    import cv2

    corners = np.round(_corners(states[:, 4:6], states[:, 6])).astype(int)
    agents = np.round(states[:, :2].clip(-1e6, 1e6)).astype(int)
    painter, result = Painter(), np.empty((len(states), size, size, 3), np.uint8)
    for row, state in enumerate(states):
        painter.draw(corners[row].tolist(), tuple(agents[row].tolist()), painter.contacts(state))
        cv2.cvtColor(cv2.resize(painter.pixels, (size, size)), cv2.COLOR_BGRA2RGB, dst=result[row])
    return result


class Painter:
    """A surface to draw one picture after another on, and its pixels."""

    def __init__(self) -> None:
        self._background = _background()
        self._surface, self.pixels = _canvas()
        """The surface, and what was drawn on it last, `[512, 512, 4]`: blue, green, red, and nothing."""
        self._scene = UpstreamScene(asked(np.zeros(7)))

    def draw(self, boxes: Iterable[list[list[int]]], agent: Point, contacts: Iterable[tuple[Point, Point]]) -> None:
        """Draw the block's boxes (corners in px), the agent, the border over them, and contacts over everything."""
        import pygame

        np.copyto(self.pixels, self._background)
        for box in boxes:
            pygame.draw.polygon(self._surface, BLOCK_COLOUR, box)
            for begin, end in zip(box, [*box[1:], box[0]], strict=True):
                _thick(self._surface, OUTLINE_COLOUR, tuple(begin), tuple(end))
        pygame.draw.circle(self._surface, AGENT_COLOUR, agent, round(AGENT_RADIUS))
        pygame.draw.circle(self._surface, AGENT_CENTRE_COLOUR, agent, round(AGENT_RADIUS) - RING)
        for begin, end in UpstreamScene.walls:
            _thick(self._surface, BORDER_COLOUR, begin, end)
        for begin, end in contacts:
            pygame.draw.aalines(self._surface, CONTACT_COLOUR, False, [begin, end])

    def contacts(self, state: Float[np.ndarray, " simulator_state"]) -> list[tuple[Point, Point]]:
        """The lines of contacts of the block with the agent and the border, in the order in which they are drawn."""
        centre = block_centre(state)
        at_agent = bool(np.linalg.norm(state[:2] - centre) < NEAR)
        at_border = bool(np.abs(centre - ARENA / 2).max() > ARENA / 2 - 85.0)
        if not (at_agent or at_border):
            return []
        scene = self._scene
        scene.put_bodies(state)
        others = [*scene.agent.shapes] * at_agent + scene.sides * at_border
        return [line for other in others for box in scene.boxes for line in _lines(other, box)]


def _lines(one: Any, other: Any) -> list[tuple[Point, Point]]:
    """Lines through the contacts of two of pymunk's shapes, in whole px."""
    found = one.shapes_collide(other)
    reach = found.normal * CONTACT_REACH
    lines = [(point.point_a - reach, point.point_b + reach) for point in found.points]
    return [((round(a.x), round(a.y)), (round(b.x), round(b.y))) for a, b in lines]


def _corners(origins: Float[np.ndarray, "n 2"], angles: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n box corner 2"]:
    """Corners of the T's boxes in px."""
    cos, sin = np.cos(angles), np.sin(angles)
    turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    return np.einsum("nij,bcj->nbci", turn, np.array(BOXES)) + origins[:, None, None]


@cache
def _background() -> UInt8[np.ndarray, "512 512 4"]:
    """Paper and target."""
    import pygame

    surface, pixels = _canvas()
    surface.fill(PAPER)
    for box in np.round(_corners(np.array([TARGET[:2]]), np.array([TARGET[2]])))[0].astype(int).tolist():
        pygame.draw.polygon(surface, TARGET_COLOUR, box)
    return pixels.copy()


def _canvas() -> tuple[pygame.Surface, UInt8[np.ndarray, "512 512 4"]]:
    """A surface and its pixels, which are upstream's 32 bits: of 24 bits, pygame blends the colours of thin lines otherwise."""
    import pygame

    surface = pygame.Surface((SIDE, SIDE), 0, 32, (0xFF0000, 0xFF00, 0xFF, 0))
    return surface, np.frombuffer(surface.get_buffer(), np.uint8).reshape(SIDE, SIDE, 4)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _thick(surface: pygame.Surface, colour: Colour, begin: tuple[int, ...], end: tuple[int, ...]) -> None:
    """A line with round ends as pymunk's helper for pygame draws it: a line, a box over it, and a disc at each end.

    The box is made of absolute distances, so for a line that rises it lies askew, and only the line itself is as wide as asked.
    """
    import pygame

    across, along = abs(end[1] - begin[1]), abs(end[0] - begin[0])
    pygame.draw.lines(surface, colour, False, [begin, end], round(2 * THICKNESS))
    if across == along == 0:
        return
    scale = THICKNESS / (across * across + along * along) ** 0.5
    right, down = round(across * scale), round(along * scale)
    box = [(x + sign * right, y + sign * down) for (x, y), sign in ((begin, -1), (begin, 1), (end, 1), (end, -1))]
    pygame.draw.polygon(surface, colour, box)
    for place in (begin, end):
        pygame.draw.circle(surface, colour, place, round(THICKNESS))
