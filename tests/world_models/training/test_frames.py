"""Frames: the pictures that the task draws, whatever the number of processes; windows hold what the frames hold."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from world_models.errors import UserError
from world_models.tasks import make_task
from world_models.training.data import collect
from world_models.training.frames import Frames, collect_frames, visible
from world_models.training.windows import States, picture_windows

WALL = make_task("wall")
SEEN = visible(WALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("frames")


@pytest.fixture(scope="module")
def frames(folder):
    return collect_frames(WALL, 60, 20, 3, 32, folder)


def test_pictures_are_those_that_the_task_draws(frames):
    states = frames.observations.reshape(-1, 2)
    rows = np.random.default_rng(0).integers(len(states), size=200)
    drawn = SEEN.pixels(states[rows].astype(np.float64), 32)
    kept = frames.pixels(rows).numpy()
    # Stored positions are float32, drawn ones were float64: colours may be rounded the other way.
    assert np.abs(drawn.astype(int) - kept).max() <= 1
    assert (drawn != kept).mean() < 1e-4
    assert frames.size == 32


def test_the_behaviour_is_that_of_state_models(frames):
    data = collect(WALL, 60, 20, 3)
    np.testing.assert_array_equal(frames.observations, data.observations)
    np.testing.assert_array_equal(frames.actions, data.actions)


def test_frames_are_kept_under_a_name_and_take_little_space(frames, folder):
    (path,) = folder.glob("*.arrow")
    assert collect_frames(WALL, 60, 20, 3, 32, folder).digest == frames.digest
    assert len(list(folder.iterdir())) == 1
    assert path.stat().st_size < 0.1 * 60 * 21 * 32 * 32 * 3


def test_frames_round_trip_and_foreign_files_are_refused(frames, tmp_path):
    frames.write(tmp_path / "f.arrow")
    again = Frames.read(tmp_path / "f.arrow")
    assert torch.equal(again.pixels(np.arange(100)), frames.pixels(np.arange(100)))
    for part in ("actions", "observations", "proprioception", "background"):
        np.testing.assert_array_equal(getattr(again, part), getattr(frames, part))
    whole = (tmp_path / "f.arrow").read_bytes()
    for name, content in (("empty", b""), ("other", b"ARROW1 no"), ("truncated", whole[: len(whole) // 2])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name} does not hold frames"):
            Frames.read(tmp_path / name)
    with pytest.raises(UserError, match="image size 300"):
        collect_frames(WALL, 1, 2, 0, 300, tmp_path)


def test_frames_without_proprioception_are_kept_too(frames, tmp_path):
    none = replace(frames, proprioception=frames.proprioception[..., :0])
    none.write(tmp_path / "f.arrow")
    assert Frames.read(tmp_path / "f.arrow").proprioception.shape == (60, 21, 0)


def test_picture_windows_hold_neighbouring_moments(frames):
    batch = picture_windows(frames, 2, 4, 16, 0, 5)
    assert batch.actions.shape == (16, 3, 4)
    for row in range(16):
        at = np.argwhere((frames.observations[:, :-6] == batch.observations[row, 0].numpy()).all(-1))
        (trajectory, time), *_ = at
        rows = trajectory * 21 + time + np.arange(0, 7, 2)
        assert torch.equal(batch.pixels[row], frames.pixels(rows))
        np.testing.assert_array_equal(batch.actions[row].numpy().reshape(6, 2), frames.actions[trajectory, time : time + 6])
    again = picture_windows(frames, 2, 4, 16, 0, 5)
    assert torch.equal(again.pixels, batch.pixels)
    assert not torch.equal(picture_windows(frames, 2, 4, 16, 0, 6).pixels, batch.pixels)


def counting() -> States:
    """States and actions that hold their trajectory and time."""
    rows, times = torch.meshgrid(torch.arange(5), torch.arange(13), indexing="ij")
    states = torch.stack([rows, times], -1).float()
    return States(states, states[:, :-1], 2)


def test_state_windows_are_steps_apart_and_some_stand_still_at_the_start():
    batch = counting().windows(3, 2, 64, 0.25, 0, 7)
    times, taken = batch.states[..., 1], batch.actions.unflatten(2, (2, 2))
    assert (times[:16, :3] == 0).all()
    assert (taken[:16, :2] == 0).all()
    assert (times[16:].diff(dim=1) == 2).all()
    torch.testing.assert_close(taken[16:, :, 0, 1], times[16:, :-1])
    torch.testing.assert_close(taken[16:, :, 1, 1], times[16:, :-1] + 1)
    assert (batch.states[..., 0] == batch.states[:, :1, 0]).all()


def test_pairs_follow_each_other_and_cost_what_the_steps_between_them_cost():
    data = counting()
    costs = torch.rand(5, 12, generator=torch.Generator().manual_seed(0))
    pairs = data.pairs(8, 500, costs, 0, 3)
    assert (pairs.first[:, 0] == pairs.second[:, 0]).all()
    apart = (pairs.second - pairs.first)[:, 1]
    assert sorted(set(apart.tolist())) == list(range(1, 9))
    expected = [float(costs[int(a[0]), int(a[1]) : int(b[1])].sum()) for a, b in zip(pairs.first, pairs.second, strict=True)]
    torch.testing.assert_close(pairs.apart, torch.tensor(expected))
