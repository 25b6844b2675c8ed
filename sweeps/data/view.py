"""`grasp data view`: an episode's curves as a picture, and its pictures as an animation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from orchestrator.artifacts.encoding import gif
from sweeps.console.terminal import say
from sweeps.reports.figure import COLOURS, write_figure
from world_models.datasets import Episodes, Role
from world_models.errors import UserError, require
from world_models.files.names import inside
from world_models.files.writing import write_file

MOST_FRAMES = 120
"""Frames of an animation; of longer episodes, frames at even distances are taken."""
MOST_CURVES = len(COLOURS)
"""Curves of a column; further features are left out, and the title says so."""
_HIDDEN = (Role.STEP, Role.EPISODE)


def view_episode(data: Episodes, episode: object, out: object, console: Console) -> int:
    """Write `episode-N.png` and a gif per column of pictures to a folder, and return the exit code.

    Raises UserError for an episode that is none, and if no folder is named.
    """
    require(out is not None, "grasp data view needs a folder to write to: give out=FOLDER.")
    if isinstance(episode, bool) or not isinstance(episode, int):
        raise UserError(f"episode {episode!r} is not a number of an episode: give episode=0 for the first.")
    folder, stem = Path(str(out)), f"episode-{episode}"
    values = data.episode(episode)
    curves = {name: rows for name, rows in values.items() if _is_curve(data, name)}
    require(bool(len(next(iter(values.values())))), f"episode {episode} of {data.path} is empty: choose another.")
    if curves:
        write_figure(_figure(data, episode, curves), inside(folder, f"{stem}.png"))
        say(console, f"curves of {', '.join(curves)}: {folder / stem}.png")
    for name, frames in values.items():
        if data.columns[name].role is Role.PIXELS:
            file = f"{stem}-{name.replace('/', '-')}.gif"
            write_file(inside(folder, file), gif(_frames(frames)))
            say(console, f"{len(frames)} pictures of {name}: {folder / file}")
    return 0


def _is_curve(data: Episodes, name: str) -> bool:
    column = data.columns[name]
    return column.role is not Role.PIXELS and column.role not in _HIDDEN


def _figure(data: Episodes, episode: int, curves: dict[str, np.ndarray]) -> Figure:
    """A panel per column over the episode's rows."""
    figure = Figure(figsize=(8.0, 1.2 + 1.6 * len(curves)), layout="constrained")
    figure.suptitle(f"{Path(data.path).name}, episode {episode}", fontsize=10)
    panels = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (name, rows) in zip(panels, curves.items(), strict=True):
        flat, column = rows.reshape(len(rows), -1), data.columns[name]
        for i, colour in zip(range(flat.shape[1]), COLOURS, strict=False):
            label = column.features[i] if len(column.features) == flat.shape[1] else str(i)
            panel.plot(flat[:, i].astype(float), color=colour, linewidth=1.2, label=label)
        more = f", {MOST_CURVES} of {flat.shape[1]} features" if flat.shape[1] > MOST_CURVES else ""
        panel.set_ylabel(column.unit)
        panel.set_title(f"{name}{more}", fontsize=9, loc="left")
        if 1 < flat.shape[1] <= MOST_CURVES:
            panel.legend(fontsize=7, ncols=flat.shape[1], loc="upper right", frameon=False)
    panels[-1].set_xlabel("row")
    return figure


def _frames(pictures: np.ndarray) -> list[Image.Image]:
    """Frames `[rows, height, width, channels]` at even distances, as images."""
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(len(pictures), MOST_FRAMES)).round().astype(int))
    shown = pictures[chosen]
    if shown.shape[1] in (1, 3, 4) and shown.shape[-1] not in (1, 3, 4):
        shown = shown.transpose(0, 2, 3, 1)  # channels first
    return [Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame).convert("RGB") for frame in shown]
