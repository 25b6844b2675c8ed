"""State models trained from recorded episodes: the same as from the simulator that recorded them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from world_models.checkpoints.store import read_card
from world_models.datasets import from_arrays, open_dataset, split_episodes
from world_models.datasets.problems.columns import columns_for
from world_models.errors import UserError
from world_models.tasks import make_task
from world_models.training.data import Dataset, collect
from world_models.training.fit_states import FitSettings, abrupt_changes
from world_models.training.recorded.source import Source
from world_models.training.recorded.train import RecordedData, train_recorded
from world_models.training.train import TrainSettings

SETTINGS = TrainSettings(width=48, fit=FitSettings(unrolls=(1, 4), steps=(150, 100), batch_size=64, abrupt_share=0.25))


def recorded(folder: Path, observations: np.ndarray, actions: np.ndarray) -> Path:
    """An HDF5 file in stable-worldmodel's layout: one row per step, with the episode's last observation and no action."""
    count, rows = observations.shape[:2]
    lengths = np.full(count, rows)
    padded = np.concatenate([actions, np.full((count, 1, actions.shape[2]), np.nan, actions.dtype)], axis=1)
    path = folder / "recorded.h5"
    with h5py.File(path, "w") as file:
        file["ep_len"], file["ep_offset"] = lengths, np.cumsum(lengths) - lengths
        file["observation"], file["action"] = observations.reshape(count * rows, -1), padded.reshape(count * rows, -1)
        file["step_idx"], file["ep_idx"] = np.tile(np.arange(rows), count), np.repeat(np.arange(count), rows)
    return path


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """A file of the wall's own behaviour, and what is in it."""
    data = collect(make_task("wall"), 60, 40, 0)
    return recorded(tmp_path_factory.mktemp("wall"), data.observations, data.actions), data.observations, data.actions


def test_windows_are_rows_of_training_episodes(wall: tuple[Path, np.ndarray, np.ndarray]) -> None:
    path, observations, actions = wall
    task, data = make_task("wall"), open_dataset(str(path))
    training, validation = split_episodes(len(data.lengths), 0.2, 1)
    source = Source.of(data, columns_for(task, data), training, task.action_block)
    for share in (0.0, 0.5):
        seen, taken = source.draw(3, 32, 4, 7, share)
        again, _ = source.draw(3, 32, 4, 7, share)
        assert seen.equal(again)
        block = task.action_block
        for row in range(32):
            found = np.argwhere((observations[:, ::1] == seen[row, 0].numpy()).all(-1))
            assert any(
                episode in training
                and np.array_equal(observations[episode, start : start + 4 * block + 1 : block], seen[row].numpy())
                and np.array_equal(actions[episode, start : start + 4 * block].reshape(4, -1), taken[row].numpy())
                for episode, start in found
            )
    assert not set(training) & set(validation)


def test_statistics_and_abrupt_changes_are_those_of_the_same_trajectories(wall: tuple[Path, np.ndarray, np.ndarray]) -> None:
    path, observations, actions = wall
    task, data = make_task("wall"), open_dataset(str(path))
    source = Source.of(data, columns_for(task, data), np.arange(60), task.action_block)
    np.testing.assert_allclose(source.scale.mean, observations.mean((0, 1)), rtol=1e-4)
    np.testing.assert_allclose(source.scale.std, observations.std((0, 1)), rtol=1e-4)
    block = task.action_block
    np.testing.assert_allclose(source.scale.change, (observations[:, block:] - observations[:, :-block]).std((0, 1)), rtol=1e-3)
    expected = {tuple(event) for event in abrupt_changes(Dataset(observations, actions)).tolist()}
    assert len(expected ^ {tuple(event) for event in source.abrupt.tolist()}) <= 0.01 * len(expected)


def test_what_is_read_while_training_is_what_is_held_in_memory(wall: tuple[Path, np.ndarray, np.ndarray]) -> None:
    task, data = make_task("wall"), open_dataset(str(wall[0]))
    held = Source.of(data, columns_for(task, data), np.arange(50), task.action_block)
    streamed = replace(held, data=data)
    for one, other in zip(held.draw(2, 16, 3, 0, 0.3), streamed.draw(2, 16, 3, 0, 0.3), strict=True):
        assert one.equal(other)


def test_a_model_is_learned_without_a_simulator_and_its_card_says_from_what(
    wall: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task("wall")
    monkeypatch.setattr(type(task), "simulate", lambda *_: pytest.fail("the simulator ran"))
    folder = train_recorded("w", task, SETTINGS, tmp_path / "w", recorded=RecordedData(str(wall[0])))
    card, _ = read_card(str(folder))
    assert card["dynamics"] == task.dynamics
    assert card["data"]["digest"] == open_dataset(str(wall[0])).digest()
    assert (card["data"]["training_episodes"], card["data"]["validation_episodes"]) == (54, 6)
    (errors, *_) = card["open_loop_error"].values()
    assert {"5", "10", "25"} <= set(errors)
    assert errors["5"]["model"] < 0.7 * errors["5"]["persistence"]


def test_an_interrupted_training_ends_in_the_same_weights(wall: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    task, data = make_task("wall"), RecordedData(str(wall[0]))
    quick = replace(SETTINGS, fit=replace(SETTINGS.fit, steps=(20, 10)))

    def stop(stage: str, done: int, total: int, loss: float) -> None:
        if done >= total:
            raise KeyboardInterrupt

    whole = train_recorded("w", task, quick, tmp_path / "whole", recorded=data)
    with pytest.raises(KeyboardInterrupt):
        train_recorded("w", task, quick, tmp_path / "cut", progress=stop, recorded=data)
    again = train_recorded("w", task, quick, tmp_path / "cut", recorded=data)
    assert (whole / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()


def test_actions_of_an_environment_are_scaled_and_classes_are_spread() -> None:
    task = make_task("gymnasium", id="Pendulum-v1")
    data = from_arrays({"observations": np.zeros((5, 3), "f4"), "actions": np.array([[-2], [-1], [0], [2], [2]], "f4")}, [5])
    columns = columns_for(task, data)
    assert columns.actions(data.rows(0, 0, 5)["actions"], 1).ravel().tolist() == [-1.0, -0.5, 0.0, 1.0, 1.0]
    cart = make_task("gymnasium", id="CartPole-v1")
    classes = columns_for(cart, from_arrays({"observations": np.zeros((2, 4)), "actions": np.array([0, 1])}, [2]))
    assert classes.actions(np.array([0, 1]), 1).tolist() == [[1.0, -1.0], [-1.0, 1.0]]
    with pytest.raises(UserError, match=r"recorded action .* is not one of the classes 0 to 1"):
        classes.actions(np.array([2]), 1)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"observations": np.zeros((4, 7)), "actions": np.zeros((4, 2))}, "has no columns for the 2 observed features of task"),
        ({"observations": np.zeros((4, 2))}, "has 0 columns for the 2 action values"),
        ({"observations": np.zeros((4, 2)), "actions": np.full((4, 2), 9.0)}, "9 times as large as task wall takes"),
    ],
)
def test_data_that_do_not_fit_are_refused(columns: dict[str, np.ndarray], says: str) -> None:
    data, task = from_arrays(columns, [4]), make_task("wall")

    def learn() -> None:
        columns_for(task, data).actions(data.rows(0, 0, 4)["actions"], 1)

    with pytest.raises(UserError, match=says):
        learn()
