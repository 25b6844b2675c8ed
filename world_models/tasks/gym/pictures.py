"""Images of an environment's states: its own, made square, or its features as bars where it draws none."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from world_models.errors import UserError
from world_models.tasks.drawing import AGENT, WALL, Canvas
from world_models.tasks.gym.making import reason, renders
from world_models.tasks.gym.simulator import Simulator
from world_models.tasks.gym.states.keepers import mujoco_buffers


def square(frame: Any, size: int, name: str) -> UInt8[np.ndarray, "size size 3"]:
    """An environment's frame in another size, all of it, on a square of its corner's colour.

    Raises UserError for what is not a picture.
    """
    picture: Any = np.asarray(frame) if frame is not None else np.empty(0)
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise UserError(f"environment {name} renders no RGB picture of bytes: choose a model of states for it.")
    image = Image.fromarray(np.ascontiguousarray(picture))
    corner = tuple(int(value) for value in picture[0, 0])
    return np.asarray(ImageOps.pad(image, (size, size), Image.Resampling.BOX, color=corner), dtype=np.uint8).copy()


def can_render(simulator: Simulator) -> bool:
    """Whether a simulator's environment draws pictures in this process."""
    return renders(simulator.env, mujoco_buffers(simulator.env) is not None)


def picture_of(
    simulator: Simulator, state: Float[np.ndarray, " state"], size: int, name: str
) -> UInt8[np.ndarray, "size size 3"]:
    """The environment's picture of a state. Raises UserError where it cannot be drawn."""
    try:
        frame = simulator.show(state)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"environment {name} cannot be drawn ({reason(error)}): install what its pictures need, and for "
            "MuJoCo set MUJOCO_GL to egl or osmesa."
        ) from error
    return square(frame, size, name)


def bars(features: Float[np.ndarray, " observation"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The features as bars from the middle line, up to the edges for large values; as many as can be told apart.

    A mark on each bar goes up and down as the value grows, so that large values can be told apart too.
    """
    features = features[: max(1, size // 3)]
    shown = np.tanh(features)
    canvas = Canvas(size, (0.0, 1.05, float(len(shown)), -1.05))
    canvas.box(0.0, 0.01, float(len(shown)), -0.01, WALL)
    for i, value in enumerate(shown.tolist()):
        canvas.box(i + 0.15, value, i + 0.85, 0.0, AGENT)
    for i, mark in enumerate(np.sin(features).tolist()):
        canvas.box(i + 0.3, mark + 0.03, i + 0.7, mark - 0.03, WALL)
    return canvas.array()
