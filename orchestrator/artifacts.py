"""Pictures of a cell: what the simulator did with the plan, and what the model imagined.

Left the simulator with the goal faintly behind it and the model's path drawn over it, right the goal, below the distance to
the goal in both. Colours are Okabe and Ito's, told apart by colour-blind readers.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from world_models.tasks import Task
from world_models.tasks.base import Drawable, pose_of

SIZE = 160
"""Pixels of one picture's side."""
MAX_FRAMES = 40
"""Frames of a gif; longer rollouts are thinned evenly."""
SECONDS = 4.0
"""Length of a gif, roughly; the last frame stands for another second."""

_GAP, _CAPTION, _CURVE = 8, 34, 64
_BLUE, _ORANGE, _INK, _FAINT = (0, 114, 178), (230, 159, 0), (40, 40, 40), (225, 225, 225)
_GREEN, _RED = (0, 158, 115), (213, 94, 0)


@dataclass(frozen=True)
class Artifact:
    """A file made of one cell."""

    cell_id: str
    point_id: str
    seed: int
    name: str
    """File name, e.g. `7.gif`."""
    data: bytes
    media_type: str


@dataclass(frozen=True)
class Expectation:
    """What the model expected of a plan: from the start, and after each model step."""

    poses: Float[np.ndarray, "model_time_plus_one pose"]
    distance: Float[np.ndarray, " model_time_plus_one"]


@dataclass(frozen=True)
class Story:
    """What a picture tells: one plan in the simulator and in the model."""

    title: str
    task: Task
    states: Float[np.ndarray, "time_plus_one simulator_state"]
    distance: Float[np.ndarray, " time_plus_one"]
    success: bool
    goal: Float[np.ndarray, " simulator_state"]
    expected: Expectation | None
    """None where the model's states cannot be decoded."""


def draw(story: Story, cell_id: str, point_id: str, seed: int) -> tuple[Artifact, Artifact]:
    """A gif of the rollout and a still of its end."""
    times = frame_times(len(story.states))
    background = _background(story)
    goal = story.task.render(story.goal, SIZE)
    frames = [_frame(story, background, goal, int(t)) for t in times]
    gif = Artifact(cell_id, point_id, seed, f"{seed}.gif", _gif(frames), "image/gif")
    still = io.BytesIO()
    frames[-1].save(still, "PNG")
    return gif, Artifact(cell_id, point_id, seed, f"{seed}.png", still.getvalue(), "image/png")


def frame_times(steps: int) -> list[int]:
    """Which of `steps` states are shown: at most `MAX_FRAMES`, first and last among them."""
    return np.unique(np.linspace(0, steps - 1, min(steps, MAX_FRAMES)).round().astype(int)).tolist()


def _frame(story: Story, background: Image.Image, goal: np.ndarray, time: int) -> Image.Image:
    """The picture at one environment step."""
    picture = background.copy()
    seen = _ghosted(story.task.render(story.states[time], SIZE), goal)
    picture.paste(Image.fromarray(seen), (_GAP, _CAPTION))
    canvas = ImageDraw.Draw(picture)
    if story.expected is not None:
        _trail(canvas, story.task, story.expected.poses, _ORANGE)
    _trail(canvas, story.task, pose_of(story.task, story.states[: time + 1]), _BLUE)
    _curve(canvas, story, time)
    unit = story.task.distance_unit
    canvas.text((_GAP, 19), f"step {time}/{len(story.states) - 1}  {story.distance[time]:.3g} {unit}", _INK, _font())
    if time == len(story.states) - 1:
        verdict, colour = ("reached", _GREEN) if story.success else ("missed", _RED)
        canvas.text((picture.width - _GAP, 19), verdict, colour, _font(), anchor="ra")
    return picture


def _background(story: Story) -> Image.Image:
    """What stays the same in every frame: caption, goal, labels, the whole curves in faint."""
    width, height = 2 * SIZE + 3 * _GAP, _CAPTION + SIZE + 2 * _GAP + _CURVE + 14
    picture = Image.new("RGB", (width, height), "white")
    picture.paste(Image.fromarray(story.task.render(story.goal, SIZE)), (2 * _GAP + SIZE, _CAPTION))
    canvas = ImageDraw.Draw(picture)
    canvas.text((_GAP, 4), story.title, _INK, _font())
    canvas.text((2 * _GAP + SIZE, 19), "goal", _INK, _font())
    left, top, right, bottom = _curve_box()
    canvas.line([(left, top), (left, bottom), (right, bottom)], _INK)
    canvas.line(_polyline(story.distance, story), _FAINT, 2)
    canvas.text((left, bottom + 2), f"distance to goal ({story.task.distance_unit}):", _INK, _font())
    canvas.text((left + 138, bottom + 2), "simulator", _BLUE, _font())
    if story.expected is not None:
        canvas.text((left + 194, bottom + 2), "model", _ORANGE, _font())
    return picture


def _ghosted(frame: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The frame with the goal shining through where they differ."""
    return (0.72 * frame + 0.28 * goal).astype(np.uint8)


def _trail(canvas: ImageDraw.ImageDraw, task: Task, poses: Float[np.ndarray, "time pose"], colour: tuple[int, ...]) -> None:
    """The path of each tracked point over the left picture, for tasks that say where poses lie on it."""
    if not isinstance(task, Drawable):
        return
    points = np.clip(task.on_picture(poses), 0.0, 1.0) * (SIZE - 1) + np.array([_GAP, _CAPTION])
    for k in range(points.shape[1]):
        path = [(float(x), float(y)) for x, y in points[:, k]]
        canvas.line(path, colour, 2)
        x, y = path[-1]
        canvas.ellipse((x - 3, y - 3, x + 3, y + 3), outline=colour, width=2)


def _curve(canvas: ImageDraw.ImageDraw, story: Story, time: int) -> None:
    """Distance to the goal: the simulator's up to now, the model's whole."""
    if story.expected is not None:
        canvas.line(_polyline(story.expected.distance, story), _ORANGE, 1)
    so_far = _polyline(story.distance, story)[: time + 1]
    if len(so_far) > 1:
        canvas.line(so_far, _BLUE, 2)
    x, y = so_far[-1]
    canvas.ellipse((x - 3, y - 3, x + 3, y + 3), fill=_BLUE)


def _curve_box() -> tuple[int, int, int, int]:
    top = _CAPTION + SIZE + _GAP
    return _GAP, top, 2 * SIZE + 2 * _GAP, top + _CURVE


def _polyline(values: Float[np.ndarray, " time"], story: Story) -> list[tuple[float, float]]:
    """A curve over the whole width; both curves share the vertical scale, which starts at zero."""
    left, top, right, bottom = _curve_box()
    known = story.distance if story.expected is None else np.concatenate([story.distance, story.expected.distance])
    highest = float(known[np.isfinite(known)].max(initial=1e-9))
    x = np.linspace(left, right, len(values))
    y = bottom - np.nan_to_num(values / highest, nan=1.0, posinf=1.0) * (bottom - top - 4)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _gif(frames: Sequence[Image.Image]) -> bytes:
    """An endless gif. One palette for all frames (the last has every colour): quicker, and nothing flickers."""
    palette = frames[-1].quantize(96, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    step = max(40, round(1000 * SECONDS / len(frames)))
    durations = [step] * (len(frames) - 1) + [step + 1000]
    buffer = io.BytesIO()
    indexed[0].save(buffer, "GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0, optimize=False)
    return buffer.getvalue()


@cache
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(11)
