"""Pixel models trained from recorded episodes: the same as from the simulator that recorded them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from orchestrator.core.modes import ExecutionMode
from orchestrator.evaluation.execution import plan_and_execute
from planners import make_planner
from world_models.checkpoints import store as checkpoints
from world_models.datasets import Episodes, from_arrays, open_dataset, split_episodes
from world_models.datasets.problems.columns import columns_for
from world_models.datasets.problems.pictures import picture_column
from world_models.errors import UserError
from world_models.tasks import make_task
from world_models.tasks.base import ObservedProprioception, Visible
from world_models.tasks.recorded.pictures import as_pictures
from world_models.training.frames import Frames, collect_frames
from world_models.training.pixel_settings import PixelTrainSettings
from world_models.training.recorded.frames import PictureColumns, RecordedFrames, cut, proprioception_for, recorded_frames
from world_models.training.recorded.train import RecordedData
from world_models.training.recorded.train_pixels import train_recorded_pixels
from world_models.training.train_pixels import PixelTrainer

WALL = make_task("wall", action_block=5)
TINY = PixelTrainSettings.of(
    {
        "length": 20,
        "size": 32,
        "model": {"latent": 4, "encoder_width": 8, "width": 16, "depth": 1},
        "encoder": {"steps": 30, "batch_size": 8, "save_every": 10},
        "predictor": {"steps": 30, "batch_size": 16, "unrolls": [1, 3], "shares": [0.5, 0.5]},
        "temporal": {"steps": 10, "batch_size": 32, "width": 16, "depth": 1, "embedding": 4},
        "probe": {"steps": 20, "batch_size": 32, "width": 0},
    }
)


def write(path: Path, frames: Frames) -> Path:
    """The trajectories in stable-worldmodel's HDF5: a row per step, and the last observation without an action."""
    count, rows = frames.observations.shape[:2]
    unknown = np.full((count, 1, frames.actions.shape[2]), np.nan, np.float32)
    pixels = frames.pixels(np.arange(count * rows)).numpy()
    with h5py.File(path, "w") as file:
        file["ep_len"], file["ep_offset"] = np.full(count, rows), np.arange(count) * rows
        file["action"] = np.concatenate([frames.actions, unknown], axis=1).reshape(count * rows, -1)
        file["observation"] = frames.observations.reshape(count * rows, -1)
        file.create_dataset("pixels", data=pixels, chunks=(1, *pixels.shape[1:]))
        file["step_idx"], file["ep_idx"] = np.tile(np.arange(rows), count), np.repeat(np.arange(count), rows)
    return path


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Frames]:
    """A file of the wall's own behaviour with pictures, and what is in it."""
    folder = tmp_path_factory.mktemp("wall")
    frames = collect_frames(WALL, 20, 20, 0, 32, folder)
    return write(folder / "wall.h5", frames), frames


def columns(data: Episodes, features: int = 0) -> PictureColumns:
    return PictureColumns(columns_for(WALL, data), picture_column(data), None, features)


def every(data: Episodes, folder: Path, length: int = 20, size: int = 32, features: int = 0) -> RecordedFrames:
    starts = cut(data, np.arange(len(data.lengths)), length)
    return recorded_frames(data, columns(data, features), starts, length, size, folder)


@pytest.mark.parametrize("proprioception", [False, True])
def test_frames_and_weights_are_those_of_the_same_trajectories_collected(
    wall: tuple[Path, Frames], tmp_path: Path, proprioception: bool
) -> None:
    path, collected = wall
    read = every(open_dataset(path), tmp_path, features=2 * proprioception)
    for part in ("actions", "observations", *(["proprioception"] if proprioception else [])):
        np.testing.assert_array_equal(getattr(read, part), getattr(collected, part))
    rows = np.random.default_rng(0).permutation(20 * 21)
    assert torch.equal(read.pixels(rows), collected.pixels(rows))
    settings = replace(TINY, proprioception=proprioception)
    (one,), (other,) = (
        PixelTrainer(WALL, settings, torch.device("cpu"), None, None).train(frames) for frames in (collected, read)
    )
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name
    assert all(torch.equal(a, b) for a, b in zip(one.probe.parameters(), other.probe.parameters(), strict=True))


def test_episodes_of_any_length_are_cut_and_the_rest_is_left_out(tmp_path: Path) -> None:
    lengths = [5, 23, 10, 4]
    rows = np.arange(sum(lengths))
    pixels = np.broadcast_to(rows[:, None, None, None], (len(rows), 16, 16, 1)).astype(np.uint8)
    values = {
        "pixels": pixels,
        "observation": np.stack([rows, -rows], 1).astype("f4"),
        "action": np.zeros((len(rows), 2), "f4"),
    }
    data = from_arrays(values, lengths)
    starts = cut(data, np.array([0, 1, 2, 3]), 4)
    assert starts.tolist() == [[0, 0], [1, 0], [1, 5], [1, 10], [1, 15], [2, 0], [2, 5]]
    read = every(data, tmp_path, 4, 16)
    assert read.trajectories == 7
    assert read.observations[..., 0].tolist() == [list(range(at, at + 5)) for at in (0, 5, 10, 15, 20, 28, 33)]
    assert torch.equal(read.pixels(np.arange(35))[:, 3, 7, 2], torch.from_numpy(read.observations[..., 0].reshape(-1)).byte())
    with pytest.raises(UserError, match=r"none of 4 episodes of .* has the 101 rows of a trajectory, and the longest has 23"):
        cut(data, np.arange(4), 100)


def test_pictures_are_read_once_and_reading_goes_on_where_it_stopped(
    wall: tuple[Path, Frames], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_dataset(wall[0])
    starts = cut(data, np.arange(20), 20)

    def stop(done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recorded_frames(data, columns(data), starts, 20, 32, tmp_path, stop)
    first = every(data, tmp_path)
    (folder,) = tmp_path.iterdir()
    assert sorted(file.name for file in folder.iterdir()) == ["dataset.json", "episodes-00000.arrow", "rows-00000.arrow"]
    monkeypatch.setattr(type(data), "rows", lambda *_: pytest.fail("the dataset was read again"))
    again = every(data, tmp_path)
    assert torch.equal(again.pixels(np.arange(420)), first.pixels(np.arange(420)))
    assert again.digest == first.digest
    monkeypatch.undo()
    assert every(data, tmp_path, 10).digest != first.digest
    (folder / "rows-00000.arrow").write_bytes(b"")
    with pytest.raises(UserError, match="is damaged: delete it, and the pictures are read from"):
        every(data, tmp_path)


@pytest.mark.parametrize("shape", [(48, 48, 3), (3, 48, 48), (48, 48, 4), (48, 48, 1), (1, 48, 48)])
def test_pictures_are_averaged_over_areas_whatever_their_channels(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    last = values if shape[0] == 48 else values.transpose(0, 2, 3, 1)
    expected = last.reshape(3, 16, 3, 16, 3, -1).mean((2, 4))
    expected = np.repeat(expected, 3, axis=3) if expected.shape[3] == 1 else expected[..., :3]
    found = as_pictures(values, 16)
    assert (found.shape, found.dtype) == ((3, 16, 16, 3), np.uint8)
    assert np.abs(found - expected).max() <= 1.0
    assert np.array_equal(as_pictures(found, 16), found)


def test_a_wide_picture_is_not_stretched() -> None:
    values = np.zeros((1, 16, 32, 3), np.uint8)
    values[:, 4:12, 4:28] = 200
    found = as_pictures(values, 32)
    assert (found[0, 12:20, 4:28] == 200).all()
    assert found.sum() == values.sum()


@pytest.fixture(scope="module")
def trained(wall: tuple[Path, Frames], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained while no simulator could run."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        for method in ("simulate", "sample", "pixels"):
            patch.setattr(type(WALL), method, lambda *_: pytest.fail("the simulator ran"))
        return train_recorded_pixels("w", WALL, TINY, folder / "w", recorded=RecordedData(str(wall[0])))


def test_a_model_is_learned_without_a_simulator_and_plans(wall: tuple[Path, Frames], trained: Path) -> None:
    loaded = checkpoints.load(str(trained))
    training, validation = split_episodes(20)
    card: Any = loaded.card
    entry = card["data"]
    assert entry["digest"] == open_dataset(wall[0]).digest()
    assert entry["columns"] == ["pixels", "observation", "action"]
    assert (entry["training_episodes"], entry["validation_episodes"]) == (len(training), len(validation)) == (18, 2)
    assert (entry["trajectories"], entry["frames"], entry["training_rows"]) == (18, 18 * 21, 18 * 21)
    errors = card["open_loop_error"]["position_px"]
    assert set(errors) == {"5", "10"}
    assert set(errors["5"]) == {"model", "persistence", "readout"}
    assert not list(trained.glob("resume-*"))
    problem = WALL.problem(10_000, 40)
    done = plan_and_execute(WALL, loaded, make_planner("gd", {"iterations": 3}), [problem], [0], mode=ExecutionMode(20))
    assert torch.isfinite(done.cost).all()


def test_a_training_that_is_interrupted_again_and_again_ends_in_the_same_weights(
    wall: tuple[Path, Frames], trained: Path, tmp_path: Path
) -> None:
    data = RecordedData(str(wall[0]))
    for where in (("read", 11), ("encoder", 30), ("predictor", 30)):

        def stop(stage: str, done: int, total: int, loss: float, where: tuple[str, int] = where) -> None:
            if (stage, done) == where:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_recorded_pixels("w", WALL, TINY, tmp_path / "w", stop, recorded=data)
    again = train_recorded_pixels("w", WALL, TINY, tmp_path / "w", recorded=data)
    assert (trained / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["wall", "point_maze", "push_t"])
def test_proprioception_is_told_from_what_is_observed(name: str) -> None:
    task = make_task(name)
    assert isinstance(task, ObservedProprioception)
    assert isinstance(task, Visible)
    states, _ = task.sample(np.random.default_rng(0), 4, 10)
    np.testing.assert_array_equal(task.observed_proprioception(task.observe(states)), task.proprioception(states))


def made(**more: np.ndarray) -> Episodes:
    """Two episodes of nine rows, with pictures unless others are given."""
    values = {
        "observation": np.zeros((18, 2), "f4"),
        "action": np.zeros((18, 2), "f4"),
        "pixels": np.zeros((18, 8, 8, 3), "u1"),
    }
    return from_arrays({name: array for name, array in {**values, **more}.items() if array is not None}, [9, 9])


@pytest.mark.parametrize(
    ("more", "named", "says"),
    [
        ({"pixels": None}, None, r"has no column of pictures; its columns are observation \[2\], action \[2\]: give a dataset"),
        ({"wrist": np.zeros((18, 8, 8, 3), "u1")}, None, r"2 columns of pictures \(pixels, wrist\).*recorded.pixels=NAME"),
        ({}, "action", r"column 'action' of .* is float32 \[2\], and pictures of bytes"),
        ({}, "pixel", "unknown column"),
    ],
)
def test_the_column_of_pictures_has_to_be_clear(more: dict[str, np.ndarray], named: str | None, says: str) -> None:
    with pytest.raises(UserError, match=says):
        picture_column(made(**more), named)
    assert picture_column(made(wrist=np.zeros((18, 8, 8, 3), "u1")), "wrist") == "wrist"


def test_numbers_that_are_none_and_actions_out_of_bounds_are_refused(tmp_path: Path) -> None:
    odd = np.zeros((18, 2), "f4")
    odd[13] = np.nan
    with pytest.raises(UserError, match="episode 1, rows 0 to 8 have observations that are not numbers"):
        every(made(observation=odd), tmp_path / "a", 8, 8)
    with pytest.raises(UserError, match="9 times as large as task wall takes"):
        every(made(action=np.full((18, 2), 9.0)), tmp_path / "b", 8, 8)
    every(made(action=np.where(np.arange(18)[:, None] % 9 == 8, 9.0, 0.0) * np.ones(2)), tmp_path / "c", 8, 8)


def test_proprioception_comes_from_a_named_column_of_its_size(tmp_path: Path) -> None:
    felt = np.arange(54, dtype="f4").reshape(18, 3)
    data = made(felt=felt, both=felt[:, :2])
    assert proprioception_for(WALL, data, None) == proprioception_for(WALL, data, "both") == 2
    with pytest.raises(UserError, match=r"column 'felt' of .* is \[3\], and task 'wall' has 2 features"):
        proprioception_for(WALL, data, "felt")
    named = replace(columns(data, 2), proprioception="both")
    read = recorded_frames(data, named, cut(data, np.arange(2), 8), 8, 8, tmp_path)
    np.testing.assert_array_equal(read.proprioception.reshape(18, 2), felt[:, :2])


def test_pictures_without_labels_for_the_probe_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "unlabelled.npz"
    actions, ends = np.zeros((42, 2), "f4"), np.arange(42) % 21 == 20
    np.savez(path, pixels=np.zeros((42, 8, 8, 3), "u1"), actions=actions, terminals=ends)
    with pytest.raises(
        UserError, match=r"no columns for the 2 observed features of task wall: it has pixels.*recorded\.observation="
    ):
        train_recorded_pixels("w", WALL, TINY, tmp_path / "w", recorded=RecordedData(str(path)))


def test_trajectories_shorter_than_the_windows_are_refused(wall: tuple[Path, Frames], tmp_path: Path) -> None:
    short = replace(TINY, length=10)
    with pytest.raises(UserError, match=r"train\.length 10 is below the 20 environment steps of the longest window"):
        train_recorded_pixels("w", WALL, short, tmp_path / "w", recorded=RecordedData(str(wall[0])))
