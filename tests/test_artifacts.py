"""Pictures show every task's plans, quickly, and never cost a result."""

import io
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator import evaluate
from orchestrator.artifacts import MAX_FRAMES, SIZE, Artifact, Expectation, Story, draw, frame_times
from orchestrator.batching import Batch
from orchestrator.run import write_artifacts
from tests.fakes import Plane, plane_evaluator, plane_point
from world_models.errors import UserError
from world_models.tasks import Task, execute, make_task
from world_models.tasks.base import Drawable, pose_of


def story(task: Task, horizon: int, seed: int = 3) -> Story:
    problem = task.problem(seed, horizon)
    rollout = execute(task, [problem], problem.reference_actions[None])
    poses = pose_of(task, rollout.states[0])[:: task.action_block]
    distance = rollout.distance[0][:: task.action_block]
    success = bool(rollout.success[0])
    return Story(
        f"{task.name} · grasp",
        task,
        rollout.states[0],
        rollout.distance[0],
        success,
        problem.goal,
        Expectation(poses, distance),
    )


def frames(artifact: Artifact) -> list[Image.Image]:
    picture = Image.open(io.BytesIO(artifact.data))
    result = []
    for index in range(getattr(picture, "n_frames", 1)):
        picture.seek(index)
        result.append(picture.convert("RGB"))
    return result


def test_thinned_frames_keep_first_and_last() -> None:
    for steps in (1, 2, 40, 41, 501):
        times = frame_times(steps)
        assert times[0] == 0
        assert times[-1] == steps - 1
        assert len(times) == min(steps, MAX_FRAMES)
        assert times == sorted(set(times))


def test_a_gif_and_a_still_of_each_cell() -> None:
    gif, still = draw(story(Plane(), 60), "cell", "point", 3)
    assert (gif.name, gif.media_type, still.name, still.media_type) == ("3.gif", "image/gif", "3.png", "image/png")
    moving, (picture,) = frames(gif), frames(still)
    assert len(moving) == MAX_FRAMES
    assert moving[0].size == picture.size
    assert picture.width > 2 * SIZE
    assert np.abs(np.asarray(moving[0], int) - np.asarray(moving[-1], int)).max() > 100
    assert np.abs(np.asarray(moving[-1], int) - np.asarray(picture, int)).mean() < 5.0
    again, _ = draw(story(Plane(), 60), "cell", "point", 3)
    assert again.data == gif.data


@pytest.mark.parametrize("name", ["wall", "point_maze", "push_t"])
def test_every_task_is_drawn_in_under_a_second(name: str) -> None:
    told = story(make_task(name), 50)
    draw(told, "cell", "point", 3)
    began = time.process_time()
    gif, still = draw(told, "cell", "point", 3)
    assert time.process_time() - began < 1.0
    assert len(gif.data) < 400_000
    assert len(still.data) < 60_000


@pytest.mark.parametrize("name", ["wall", "point_maze", "push_t"])
def test_paths_lie_where_the_picture_shows_the_point(name: str) -> None:
    """Moving the first tracked point changes the picture around the place that `on_picture` says, before and after."""
    task = make_task(name)
    assert isinstance(task, Drawable)
    problem = task.problem(1, 50)
    states = execute(task, [problem], problem.reference_actions[None]).states[0]
    ends = states[[0, -1]]
    pictures = [task.render(state, 200).astype(int) for state in ends]
    changed = np.abs(pictures[0] - pictures[1]).max(-1) > 40
    rows, columns = np.nonzero(changed)
    for x, y in task.on_picture(pose_of(task, ends))[:, 0] * 200:
        assert np.hypot(columns - x, rows - y).min() < 8.0


def test_what_is_not_finite_is_drawn_too() -> None:
    told = story(Plane(), 8)
    assert told.expected is not None
    poses, distance = told.expected.poses.copy(), told.expected.distance.copy()
    poses[3:], distance[3:] = np.nan, np.inf
    broken = Story(told.title, told.task, told.states, told.distance, False, told.goal, Expectation(poses, distance))
    assert len(draw(broken, "cell", "point", 3)) == 2


def test_without_an_expectation_the_simulator_is_drawn_alone() -> None:
    told = story(Plane(), 8)
    alone = replace(told, expected=None)
    with_model, without = (np.asarray(frames(draw(each, "cell", "point", 3)[0])[-1]).astype(int) for each in (told, alone))
    assert with_model.shape == without.shape

    def orange(picture: np.ndarray) -> int:
        return int((np.abs(picture - (230, 159, 0)).max(-1) < 40).sum())

    assert orange(without) == 0 < orange(with_model)


def test_a_picture_that_fails_costs_the_picture_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no font")

    monkeypatch.setattr(evaluate, "draw", fail)
    result = plane_evaluator().evaluate(Batch(plane_point(), (0, 1), frozenset({0})))
    assert [record.status for record in result.results] == ["completed", "completed"]
    assert result.artifacts == ()


def test_files_are_whole_and_a_blocked_folder_is_named(tmp_path: Path) -> None:
    gif, still = draw(story(Plane(), 8), "cell", "point", 3)
    write_artifacts([gif, still], tmp_path / "artifacts")
    write_artifacts([gif], tmp_path / "artifacts")
    assert sorted(path.name for path in (tmp_path / "artifacts" / "point").iterdir()) == ["3.gif", "3.png"]
    assert (tmp_path / "artifacts" / "point" / "3.gif").read_bytes() == gif.data
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="choose another output folder"):
        write_artifacts([gif], tmp_path / "file")
