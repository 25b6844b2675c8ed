"""Pictures show every task's plans, quickly, and never cost a result."""

import io
import itertools
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchestrator.artifacts import drawing
from orchestrator.artifacts.artifact_store import ArtifactStore
from orchestrator.artifacts.drawing import Drawing, Drawn, RenderJob
from orchestrator.artifacts.encoding import EncodingError, gif, mp4s, png
from orchestrator.artifacts.frames import FRAMES, SIZE, Expectation, RolloutView, animation, frame_times
from orchestrator.artifacts.selection import SelectedCell
from orchestrator.core.batch import Batch
from orchestrator.core.cell import Point
from orchestrator.storage.local import LocalStorage
from orchestrator.testing import Plane, plane_evaluator, plane_point
from world_models.errors import UserError
from world_models.tasks import Task, execute, make_task
from world_models.tasks.base import Drawable, pose_of


def rollout_view(task: Task, horizon: int, seed: int = 3) -> RolloutView:
    problem = task.problem(seed, horizon)
    rollout = execute(task, [problem], problem.reference_actions[None])
    poses = pose_of(task, rollout.states[0])[:: task.action_block]
    distance = rollout.distance[0][:: task.action_block]
    success = bool(rollout.success[0])
    return RolloutView(
        f"{task.name} · grasp",
        task,
        rollout.states[0],
        rollout.distance[0],
        success,
        problem.goal,
        Expectation(poses, distance),
    )


def drawn(point: Point, seeds: tuple[int, ...] = (3,), **options) -> Drawn:
    """The drawing of recorded cells."""
    evaluator = plane_evaluator()
    records = evaluator.evaluate(Batch.of(point, seeds)).results
    render_jobs = tuple(RenderJob(record.seed, record.actions) for record in records)
    return evaluator.draw(Drawing(point, tuple(SelectedCell(seed, ()) for seed in seeds), render_jobs, **options))


def frames(data: bytes) -> list[Image.Image]:
    picture = Image.open(io.BytesIO(data))
    result = []
    for index in range(getattr(picture, "n_frames", 1)):
        picture.seek(index)
        result.append(picture.convert("RGB"))
    return result


def test_thinned_frames_keep_first_and_last() -> None:
    for steps in (1, 2, FRAMES, FRAMES + 1, 501):
        times = frame_times(steps)
        assert times[0] == 0
        assert times[-1] == steps - 1
        assert len(times) == min(steps, FRAMES)
        assert times == sorted(set(times))


def test_gif_and_still_show_the_same_and_are_reproducible() -> None:
    pictures = animation(rollout_view(Plane(), 60))
    moving, (still,) = frames(gif(pictures)), frames(png(pictures[-1]))
    assert len(moving) == FRAMES
    assert moving[0].size == still.size
    assert still.width > 2 * SIZE
    assert np.abs(np.asarray(moving[0], int) - np.asarray(moving[-1], int)).max() > 100
    assert np.abs(np.asarray(moving[-1], int) - np.asarray(still, int)).mean() < 5.0
    assert gif(animation(rollout_view(Plane(), 60))) == gif(pictures)


def test_videos_can_be_played_and_end_slowly(tmp_path: Path) -> None:
    """Three videos at once: each has all its frames, holds the last for another second, and is playable in browsers."""
    animations = [animation(rollout_view(Plane(), horizon)) for horizon in (30, 40, 50)]
    for pictures, data in zip(animations, mp4s(animations), strict=True):
        file = tmp_path / "video.mp4"
        file.write_bytes(data)
        reader = imageio_ffmpeg.read_frames(str(file), bits_per_pixel=24)
        metadata = next(reader)
        shown = [np.frombuffer(frame, np.uint8).reshape(*metadata["size"][::-1], 3).astype(int) for frame in reader]  # pyright: ignore
        assert metadata["codec"] == "h264"  # pyright: ignore
        assert metadata["pix_fmt"].startswith("yuv420p")  # pyright: ignore
        assert metadata["size"] == pictures[0].size  # pyright: ignore
        assert len(shown) == len(pictures) + round(metadata["fps"])  # pyright: ignore
        for seen, drawn in [(shown[0], pictures[0]), (shown[len(pictures) - 1], pictures[-1]), (shown[-1], pictures[-1])]:
            assert np.abs(seen - np.asarray(drawn, int)).mean() < 6.0
        assert data.index(b"moov") < data.index(b"mdat")


def test_odd_sides_are_made_even_and_errors_of_ffmpeg_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = [Image.new("RGB", (33, 21), colour) for colour in ("red", "blue")]
    assert b"avc1" in mp4s([odd])[0]
    monkeypatch.setattr("orchestrator.artifacts.encoding.get_ffmpeg_exe", lambda: "false")
    with pytest.raises(EncodingError, match="ffmpeg"):
        mp4s([odd])


def test_a_trajectory_has_the_executed_and_the_predicted_states() -> None:
    made = {artifact.name: artifact.data for artifact in drawn(plane_point(8, "plane_2", {"action_block": 2})).artifacts}
    table = pq.read_table(io.BytesIO(made["3.parquet"]))
    assert table.schema.names == ["step", "action", "state", "pose", "distance", "model_pose", "model_distance"]
    assert table.schema.metadata[b"distance_unit"] == b"m"
    rows = table.to_pylist()
    assert [row["step"] for row in rows] == list(range(9))
    assert rows[-1]["action"] is None
    assert [row["step"] for row in rows if row["model_pose"] is not None] == [0, 2, 4, 6, 8]
    for row, following in itertools.pairwise(rows):
        assert following["state"] == pytest.approx(np.array(row["state"]) + 0.1 * np.clip(row["action"], -1, 1))
    assert rows[-1]["model_distance"] == pytest.approx(rows[-1]["distance"], abs=1e-4)


@pytest.mark.parametrize("name", ["wall", "point_maze", "push_t"])
def test_every_task_is_drawn_small(name: str) -> None:
    pictures = animation(rollout_view(make_task(name), 50))
    assert len(gif(pictures)) < 400_000
    assert len(mp4s([pictures])[0]) < 200_000
    assert len(png(pictures[-1])) < 60_000


@pytest.mark.parametrize("name", ["wall", "point_maze", "push_t"])
def test_paths_lie_where_the_picture_shows_the_point(name: str) -> None:
    """Moving the first tracked point changes the picture around the positions that `on_picture` returns before and after."""
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


def test_values_that_are_not_finite_are_drawn_too() -> None:
    view = rollout_view(Plane(), 8)
    assert view.expected is not None
    poses, distance = view.expected.poses.copy(), view.expected.distance.copy()
    poses[3:], distance[3:] = np.nan, np.inf
    broken = RolloutView(view.title, view.task, view.states, view.distance, False, view.goal, Expectation(poses, distance))
    assert len(animation(broken)) == 9


def test_without_a_prediction_the_simulator_is_drawn_alone() -> None:
    view = rollout_view(Plane(), 8)
    alone = replace(view, expected=None)
    with_model, without = (np.asarray(animation(each)[-1]).astype(int) for each in (view, alone))
    assert with_model.shape == without.shape

    def orange(picture: np.ndarray) -> int:
        return int((np.abs(picture - (230, 159, 0)).max(-1) < 40).sum())

    assert orange(without) == 0 < orange(with_model)


def test_a_picture_that_fails_costs_the_picture_only(monkeypatch: pytest.MonkeyPatch) -> None:
    real = drawing.animation

    def fail(view: RolloutView, most: int) -> list[Image.Image]:
        if view.title.endswith("seed 4"):
            raise OSError("no font")
        return real(view, most)

    monkeypatch.setattr(drawing, "animation", fail)
    made = drawn(plane_point(), (3, 4))
    assert {artifact.name for artifact in made.artifacts} == {"3.gif", "3.png", "3.mp4", "3.parquet"}
    assert made.troubles == ("seed 4: OSError: no font",)
    monkeypatch.setattr("orchestrator.artifacts.encoding.get_ffmpeg_exe", lambda: "false")
    without = drawn(plane_point())
    assert {artifact.name for artifact in without.artifacts} == {"3.gif", "3.png", "3.parquet"}
    assert without.troubles[0].startswith("mp4: EncodingError")
    assert without.seconds > 0


def test_a_blocked_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(UserError, match="choose one that you may write to"):
        ArtifactStore(LocalStorage(tmp_path / "file")).keep(drawn(plane_point(), video=False))
