"""Drawing of a point's selected cells: recorded actions are executed again in the simulator; nothing is planned."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from orchestrator.artifacts import encoding as encode
from orchestrator.artifacts import frames as artifacts
from orchestrator.artifacts.frames import Expectation, RolloutView, animation, frame_times
from orchestrator.artifacts.selection import SelectedCell
from orchestrator.artifacts.trajectory import trajectory
from orchestrator.core.cell import Point
from orchestrator.core.modes import OPEN_LOOP, ExecutionMode
from orchestrator.core.secrets import one_line
from orchestrator.core.success import FINAL, SuccessRule
from orchestrator.evaluation.contexts import alike, order_of, past_of
from orchestrator.evaluation.execution import decoded_states, judged_rollout, predicted_states
from world_models.checkpoints.store import LoadedModel
from world_models.history import REPEAT
from world_models.tasks import Problem, Rollout, Task, execute
from world_models.tasks.base import pose_of
from world_models.tasks.recorded.judging import NoSimulator

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Artifact:
    """A file that shows one cell."""

    seed: int
    kind: str
    """The suffix of its name: `gif`, `mp4`, `png` or `parquet`."""
    data: bytes

    @property
    def name(self) -> str:
        """The file's name, e.g. `7.gif`."""
        return f"{self.seed}.{self.kind}"


def kinds_of(video: bool) -> tuple[str, ...]:
    """The suffixes of a cell's files."""
    return ("gif", "mp4", "parquet", "png") if video else ("gif", "parquet", "png")


@dataclass(frozen=True)
class RenderJob:
    """A recorded cell to be drawn."""

    seed: int
    actions: tuple[float, ...]
    """The recorded actions, flattened."""


@dataclass(frozen=True)
class Drawing:
    """A task for one worker: drawing some of a point's selected cells."""

    point: Point
    selected: tuple[SelectedCell, ...]
    """All selected cells of the point, including those already drawn."""
    jobs: tuple[RenderJob, ...]
    """The cells whose files are missing."""
    video: bool = True
    frames: int = artifacts.FRAMES
    """Most frames in an animation."""
    name: str = ""
    """The point's name in titles; empty: made of what was run."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The suffixes of each cell's files."""
        return kinds_of(self.video)

    @property
    def steps(self) -> tuple[int, ...]:
        """Environment steps that the frames show."""
        return tuple(frame_times(self.point.horizon + 1, self.frames))


@dataclass(frozen=True)
class Drawn:
    """A worker's answer to a drawing."""

    drawing: Drawing
    artifacts: tuple[Artifact, ...]
    troubles: tuple[str, ...] = ()
    """One sentence per file that could not be made."""
    seconds: float = 0.0
    """Seconds of simulation, model, frames and encoding; loading a model is not counted."""


@runtime_checkable
class SupportsDraw(Protocol):
    """An object that can draw, such as a worker's evaluator."""

    def draw(self, drawing: Drawing) -> Drawn:
        """Draw the cells. Raises what tasks and models raise."""
        ...


def attempt_drawing(evaluator: SupportsDraw, drawing: Drawing) -> Drawn:
    """Draw in a worker: whatever is raised costs images and nothing else."""
    try:
        return evaluator.draw(drawing)
    except Exception as error:
        _log.warning("could not draw %s", drawing.point, exc_info=True)
        return Drawn(drawing, (), (one_line(error),))


def draw(drawing: Drawing, task: Task, loaded: LoadedModel, problems: Sequence[Problem]) -> tuple[list[Artifact], list[str]]:
    """The files of each job, and a sentence for each that could not be made; problem i belongs to job i."""
    if not drawing.jobs:
        return [], []
    flat = np.array([job.actions for job in drawing.jobs], np.float64)
    actions = flat.reshape(len(flat), drawing.point.horizon, task.action_dim)
    rollout, expected = _rollouts(drawing.point, task, loaded, problems, actions)
    succeeded = SuccessRule.of(drawing.point.success).succeeded(rollout.reached, ExecutionMode.of(drawing.point.mode))
    files: list[Artifact] = []
    troubles: list[str] = []
    animations: list[tuple[int, list[Image.Image]]] = []
    for row, job in enumerate(drawing.jobs):
        view = RolloutView(
            title=f"{drawing.name or _words(drawing.point)} · seed {job.seed}",
            task=task,
            states=rollout.states[row],
            distance=rollout.distance[row],
            success=bool(succeeded[row]),
            goal=problems[row].goal,
            expected=None if expected is None else expected[row],
        )
        try:
            frames = animation(view, drawing.frames)
            files += [Artifact(job.seed, "gif", encode.gif(frames)), Artifact(job.seed, "png", encode.png(frames[-1]))]
            files.append(Artifact(job.seed, "parquet", trajectory(view, actions[row])))
            animations.append((job.seed, frames))
        except Exception as error:
            _log.warning("could not draw seed %s of %s", job.seed, drawing.point, exc_info=True)
            troubles.append(f"seed {job.seed}: {one_line(error)}")
    if drawing.video and animations:
        try:
            videos = encode.mp4s([frames for _, frames in animations])
            files += [Artifact(seed, "mp4", video) for (seed, _), video in zip(animations, videos, strict=True)]
        except Exception as error:
            _log.warning("could not make videos of %s", drawing.point, exc_info=True)
            troubles.append(f"mp4: {one_line(error)}")
    return files, troubles


def _words(point: Point) -> str:
    words = [point.task.name, point.planner.name, f"H{point.horizon}", *([] if point.mode == OPEN_LOOP else [point.mode])]
    words += [] if point.history == REPEAT else [point.history]
    words += [] if point.success == FINAL else [point.success]
    return " · ".join([*words, *([point.goal_cost] if point.goal_cost else [])])


def _rollouts(
    point: Point,
    task: Task,
    loaded: LoadedModel,
    problems: Sequence[Problem],
    actions: Float[np.ndarray, "batch horizon action"],
) -> tuple[Rollout, list[Expectation] | None]:
    """The actions' outcome, and what the model expected; None where there is no simulator to differ from it, or no decoder."""
    rollout = _judged(task, loaded, problems, actions)
    if loaded.decode is None or isinstance(task, NoSimulator):
        return rollout, None
    decoded = decoded_states(loaded, _predicted(point, task, loaded, problems, rollout.states, actions))
    assert decoded is not None
    poses = task.pose(decoded)
    goals = pose_of(task, np.stack([problem.goal for problem in problems]))[:, None]
    distance = task.distance(poses, np.broadcast_to(goals, poses.shape))
    first = pose_of(task, rollout.states[:, :1])
    return rollout, [
        Expectation(np.concatenate([first[row], poses[row]]), np.concatenate([rollout.distance[row, :1], distance[row]]))
        for row in range(len(poses))
    ]


def _judged(
    task: Task, loaded: LoadedModel, problems: Sequence[Problem], actions: Float[np.ndarray, "batch horizon action"]
) -> Rollout:
    """The outcome, in batches of problems that know equally many states before their start where the model judges."""
    if not isinstance(task, NoSimulator):
        return execute(task, problems, actions)
    groups = alike(problems, loaded)
    found = [judged_rollout(task, loaded, [problems[row] for row in rows], actions[rows]) for rows in groups]
    order = order_of(groups)
    return Rollout(
        np.concatenate([part.states for part in found])[order],
        np.concatenate([part.distance for part in found])[order],
        np.concatenate([part.reached for part in found])[order],
    )


def _predicted(
    point: Point,
    task: Task,
    loaded: LoadedModel,
    problems: Sequence[Problem],
    states: Float[np.ndarray, "batch time_plus_one simulator_state"],
    actions: Float[np.ndarray, "batch horizon action"],
) -> Float[Tensor, "batch model_time *state"]:
    """The model's states, in batches of problems that know equally many states before their start."""
    groups, mode = alike(problems, loaded), ExecutionMode.of(point.mode)
    pasts = [past_of([problems[row] for row in rows], task.action_block) for rows in groups]
    found = [
        predicted_states(task, loaded, states[rows], actions[rows], mode, past)
        for rows, past in zip(groups, pasts, strict=True)
    ]
    return torch.cat(found)[order_of(groups)]
