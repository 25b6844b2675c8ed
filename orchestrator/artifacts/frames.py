"""Frames of a cell: the plan in the simulator, and as predicted by the model.

On the left the simulator, with the goal faintly behind it and the model's path drawn over it; on the right the goal; below
them the distance to the goal in both. The colours are Okabe and Ito's, which colour-blind readers can distinguish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from world_models.tasks import Task
from world_models.tasks.base import Drawable, Visible, pose_of

SIZE = 160
"""Side of one image in pixels."""
FRAMES = 16
"""Most frames in an animation; longer rollouts are thinned evenly."""

_GAP, _CAPTION, _CURVE = 8, 34, 64
_BLUE, _ORANGE, _INK, _FAINT = (0, 114, 178), (230, 159, 0), (40, 40, 40), (225, 225, 225)
_GREEN, _RED = (0, 158, 115), (213, 94, 0)


_Path = list[tuple[float, float]]
"""Points on an image."""


@dataclass(frozen=True)
class Expectation:
    """A plan as predicted by the model: at the start, and after each model step."""

    poses: Float[np.ndarray, "model_time_plus_one pose"]
    distance: Float[np.ndarray, " model_time_plus_one"]


@dataclass(frozen=True)
class RolloutView:
    """The contents of an animation: one plan in the simulator and in the model."""

    title: str
    task: Task
    states: Float[np.ndarray, "time_plus_one simulator_state"]
    distance: Float[np.ndarray, " time_plus_one"]
    success: bool
    goal: Float[np.ndarray, " simulator_state"]
    expected: Expectation | None
    """The model's predictions; None if its states cannot be decoded."""


def animation(view: RolloutView, most: int = FRAMES) -> list[Image.Image]:
    """The rollout as at most `most` frames of one size; the last shows its end."""
    times = frame_times(len(view.states), most)
    *seen, goal = map(Image.fromarray, _rendered(view.task, np.concatenate([view.states[times], view.goal[None]])))
    scene = _Scene(view, _background(view, goal), _paths(view.task, pose_of(view.task, view.states)), _predicted_paths(view))
    # The goal shines through where it differs from the present state.
    return [_frame(scene, Image.blend(picture, goal, 0.28), time) for time, picture in zip(times, seen, strict=True)]


def frame_times(steps: int, most: int = FRAMES) -> list[int]:
    """Which of `steps` states are shown: at most `most`, including the first and the last."""
    return np.unique(np.linspace(0, steps - 1, min(steps, most)).round().astype(int)).tolist()


@dataclass(frozen=True)
class _Scene:
    """Everything that all frames share."""

    view: RolloutView
    background: Image.Image
    paths: Sequence[_Path]
    """Paths of the simulator's tracked points over the left image, with a point per environment step."""
    predicted: Sequence[_Path]
    """Paths of the model's tracked points."""


def _rendered(task: Task, states: Float[np.ndarray, "frames simulator_state"]) -> UInt8[np.ndarray, "frames size size 3"]:
    """Images of simulator states, drawn together if the task can, because it then draws still objects only once."""
    return task.pixels(states, SIZE) if isinstance(task, Visible) else np.stack([task.render(s, SIZE) for s in states])


def _frame(scene: _Scene, seen: Image.Image, time: int) -> Image.Image:
    """The frame at one environment step."""
    view, picture = scene.view, scene.background.copy()
    picture.paste(seen, (_GAP, _CAPTION))
    canvas = ImageDraw.Draw(picture)
    for path in scene.predicted:
        _trail(canvas, path, _ORANGE)
    for path in scene.paths:
        _trail(canvas, path[: time + 1], _BLUE)
    _curve(canvas, view, time)
    unit = view.task.distance_unit
    _write(canvas, (_GAP, 19), f"step {time}/{len(view.states) - 1}  {view.distance[time]:.3g} {unit}", _INK)
    if time == len(view.states) - 1:
        verdict, colour = ("reached", _GREEN) if view.success else ("missed", _RED)
        _write(canvas, (picture.width - _GAP - _length(verdict), 19), verdict, colour)
    return picture


def _background(view: RolloutView, goal: Image.Image) -> Image.Image:
    """The parts that every frame shares: caption, goal, labels, and the whole distance curve in grey."""
    width, height = 2 * SIZE + 3 * _GAP, _CAPTION + SIZE + 2 * _GAP + _CURVE + 14
    picture = Image.new("RGB", (width, height), "white")
    picture.paste(goal, (2 * _GAP + SIZE, _CAPTION))
    canvas = ImageDraw.Draw(picture)
    _write(canvas, (_GAP, 4), view.title, _INK)
    _write(canvas, (2 * _GAP + SIZE, 19), "goal", _INK)
    left, top, right, bottom = _curve_box()
    canvas.line([(left, top), (left, bottom), (right, bottom)], _INK)
    canvas.line(_polyline(view.distance, view), _FAINT, 2)
    _write(canvas, (left, bottom + 2), f"distance to goal ({view.task.distance_unit}):", _INK)
    _write(canvas, (left + 138, bottom + 2), "simulator", _BLUE)
    if view.expected is not None:
        _write(canvas, (left + 194, bottom + 2), "model", _ORANGE)
    return picture


def _paths(task: Task, poses: Float[np.ndarray, "time pose"]) -> list[_Path]:
    """The path of each tracked point on the left image, for tasks that locate poses on their images."""
    if not isinstance(task, Drawable):
        return []
    positions = np.clip(task.on_picture(poses), 0.0, 1.0) * (SIZE - 1) + np.array([_GAP, _CAPTION])
    return [[(float(x), float(y)) for x, y in positions[:, k]] for k in range(positions.shape[1])]


def _predicted_paths(view: RolloutView) -> list[_Path]:
    return [] if view.expected is None else _paths(view.task, view.expected.poses)


def _trail(canvas: ImageDraw.ImageDraw, path: _Path, colour: tuple[int, ...]) -> None:
    """Draw a path with a ring at its end."""
    canvas.line(path, colour, 2)
    x, y = path[-1]
    canvas.ellipse((x - 3, y - 3, x + 3, y + 3), outline=colour, width=2)


def _curve(canvas: ImageDraw.ImageDraw, view: RolloutView, time: int) -> None:
    """Draw the distance to the goal: the simulator's up to now, the model's in full."""
    if view.expected is not None:
        canvas.line(_polyline(view.expected.distance, view), _ORANGE, 1)
    so_far = _polyline(view.distance, view)[: time + 1]
    if len(so_far) > 1:
        canvas.line(so_far, _BLUE, 2)
    x, y = so_far[-1]
    canvas.ellipse((x - 3, y - 3, x + 3, y + 3), fill=_BLUE)


def _curve_box() -> tuple[int, int, int, int]:
    top = _CAPTION + SIZE + _GAP
    return _GAP, top, 2 * SIZE + 2 * _GAP, top + _CURVE


def _polyline(values: Float[np.ndarray, " time"], view: RolloutView) -> list[tuple[float, float]]:
    """A curve across the full width; both curves share the vertical scale, which starts at zero."""
    left, top, right, bottom = _curve_box()
    known = view.distance if view.expected is None else np.concatenate([view.distance, view.expected.distance])
    highest = float(known[np.isfinite(known)].max(initial=1e-9))
    x = np.linspace(left, right, len(values))
    y = bottom - np.nan_to_num(values / highest, nan=1.0, posinf=1.0) * (bottom - top - 4)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _write(canvas: ImageDraw.ImageDraw, position: tuple[int | float, int], text: str, colour: tuple[int, ...]) -> None:
    """Write a line of text from cached letters: drawing the letters anew would take half the time of a frame."""
    x, y = position
    for letter in text:
        mask, advance = _letter(letter)
        canvas.bitmap((round(x), y), mask, colour)
        x += advance


def _length(text: str) -> int:
    return round(sum(_letter(letter)[1] for letter in text))


@cache
def _letter(letter: str) -> tuple[Image.Image, float]:
    """A letter's mask, and the distance to the next letter."""
    font = ImageFont.load_default(11)
    mask = Image.new("L", (14, 15))
    ImageDraw.Draw(mask).text((0, 0), letter, 255, font)
    return mask, font.getlength(letter)
